/** Renewal has a thread of its own: a handler that blocks the event loop does not lose the lease. On the real clock. */

import { afterAll, expect, test } from 'vitest';
import { coordinate } from '../src/coordinator/tick.ts';
import { job } from '../src/jobs.ts';
import { openQueue } from '../src/queue/boss.ts';
import { submitRuns } from '../src/runs.ts';
import { Worker } from '../src/worker/worker.ts';
import { block } from './support/block.ts';
import { testDatabase } from './support/database.ts';
import { keepingLog } from './support/log.ts';

const database = await testDatabase();
const queue = await openQueue(database);
afterAll(() => queue.close());
const leaseMs = 1_000;
const log = keepingLog();

test('a handler blocks the event loop for three leases', async () => {
  const load = job('load', async () => block(3 * leaseMs));
  const jobs = new Map([[load.name, load]]);
  const worker = new Worker({ database, log, jobs, leaseMs, name: 'w1', onProgress: () => undefined });
  await worker.open();
  const [run] = await submitRuns(queue, database.execute, [{ job: 'load' }]);
  await coordinate(database, queue);
  // The thread has been heard of once, so that it runs before the block begins.
  const expiry = async () =>
    (await database.execute('select expires_at, live from lockkeeper.workers', [])).rows[0];
  const opened = String((await expiry())?.expires_at);
  while (String((await expiry())?.expires_at) === opened);

  await worker.tick();
  expect(await expiry()).toMatchObject({ live: true });
  await coordinate(database, queue);
  await worker.tick();
  const { rows } = await database.execute('select state from lockkeeper.runs where run_id = $1', [
    run?.runId,
  ]);
  expect(rows).toEqual([{ state: 'succeeded' }]);
  expect(log.lines.filter(({ level }) => level !== 'info')).toEqual([]);
  await worker.stop();
});
