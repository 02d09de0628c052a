/** A reply to a claim that is read late is handed back unstarted: nobody knows whether the steps are still the worker's. */

import { afterAll, expect, test } from 'vitest';
import { coordinate } from '../src/coordinator/tick.ts';
import type { Database, Rows } from '../src/database.ts';
import { job } from '../src/jobs.ts';
import { applyConfig } from '../src/limits/apply.ts';
import { openQueue } from '../src/queue/boss.ts';
import { submitRuns } from '../src/runs.ts';
import { Worker } from '../src/worker/worker.ts';
import { block } from './support/block.ts';
import { testDatabase } from './support/database.ts';
import { keepingLog } from './support/log.ts';

const database = await testDatabase();
const queue = await openQueue(database);
afterAll(() => queue.close());
await applyConfig(database.execute, { concurrency: { pools: { limits: { api: 1 } } } });

/** Renewed each second. */
const leaseMs = 3_000;
const started: string[] = [];

/** A worker by hand. `onClaim` gets each claim that is in flight, and answers what the worker reads. */
async function working(name: string, onClaim = (reply: Promise<Rows>) => reply): Promise<Worker> {
  const through: Database = {
    ...database,
    execute: (text, values) => {
      const reply = database.execute(text, values);
      return text.includes('lockkeeper.exchange') ? onClaim(reply) : reply;
    },
  };
  const load = job('load', { pool: 'api', retry: { maxAttempts: 1 } }, () => {
    started.push(name);
  });
  const jobs = new Map([[load.name, load]]);
  const log = keepingLog();
  const worker = new Worker({ database: through, log, jobs, leaseMs, name, onProgress: () => undefined });
  await worker.open();
  return worker;
}

async function submit(): Promise<string> {
  started.length = 0;
  const [run] = await submitRuns(queue, database.execute, [{ job: 'load' }]);
  await coordinate(database, queue);
  return String(run?.runId);
}

/** The event loop is blocked while the claim is on its way. */
const blocked = (reply: Promise<Rows>) => {
  setImmediate(() => block(1_200));
  return new Promise(setImmediate).then(() => reply);
};

const rows = async (text: string, values: unknown[] = []) => (await database.execute(text, values)).rows;
const outcomesOf = async (runId: string) =>
  (await rows('select outcome from lockkeeper.attempts where run_id = $1 order by attempt', [runId])).map(
    ({ outcome }) => outcome,
  );
const stepOf = async (runId: string) =>
  (await rows('select state, attempts from lockkeeper.steps where run_id = $1', [runId]))[0];
const slots = () => rows('select key from lockkeeper.slots where place > 0');

test('the event loop is blocked with a claim in flight: what it brings goes to others, and does not count', async () => {
  let first = true;
  const late = await working('late', (reply) => {
    const held = first ? blocked(reply) : reply;
    first = false;
    return held;
  });
  const runId = await submit();
  await late.tick();
  expect(late.running).toBe(1);
  expect(await slots()).not.toEqual([]);
  await late.stop();
  expect(started).toEqual([]);
  expect(await stepOf(runId)).toMatchObject({ state: 'ready' });
  expect(await slots()).toEqual([]);

  const other = await working('other');
  while ((await stepOf(runId))?.state !== 'succeeded') await other.tick();
  expect(started).toEqual(['other']);
  const all = await outcomesOf(runId);
  expect([all[0], all.at(-1)]).toEqual(['returned', 'succeeded']);
  await other.stop();
});

test('the lease is lost with a claim in flight: what that brings is not started', async () => {
  let first = true;
  const worker: Worker = await working('losing', async (reply) => {
    if (!first) return reply;
    first = false;
    const read = await reply;
    await rows("select lockkeeper.close_lease(id) from lockkeeper_data.leases where worker = 'losing'");
    await worker.tick(); // Told that its lease has ended.
    return read;
  });
  const runId = await submit();
  await worker.tick();
  expect(started).toEqual([]);
  while ((await stepOf(runId))?.state !== 'succeeded') {
    await coordinate(database, queue);
    await worker.tick();
  }
  expect(await outcomesOf(runId)).toEqual(['lost', 'succeeded']);
  expect(started).toEqual(['losing']);
  await worker.stop();
});

test('a worker that is told to stop with a claim in flight hands back what that brings', async () => {
  const claimed = Promise.withResolvers<void>();
  const read = Promise.withResolvers<void>();
  const runId = await submit();
  const worker = await working('stopping', async (reply) => {
    const answer = await reply;
    claimed.resolve();
    await read.promise;
    return answer;
  });
  await coordinate(database, queue);
  worker.start();
  await claimed.promise;
  const stopped = worker.stop();
  read.resolve();
  await stopped;
  expect(started).toEqual([]);
  expect(await stepOf(runId)).toMatchObject({ state: 'ready' });
  expect(await outcomesOf(runId)).toEqual(['returned']);
  const other = await working('other');
  while ((await stepOf(runId))?.state !== 'succeeded') await other.tick();
  expect(started).toEqual(['other']);
  await other.stop();
});
