/** Every wake is only a hint: what can start does so within the loops' second without any. */

import { afterAll, afterEach, expect, test, vi } from 'vitest';
import { Coordinator } from '../src/coordinator/coordinator.ts';
import { job } from '../src/jobs.ts';
import { openQueue } from '../src/queue/boss.ts';
import { submitRuns } from '../src/runs.ts';
import { idleMs, loop, Wakes } from '../src/wake.ts';
import { Worker } from '../src/worker/worker.ts';
import { testDatabase } from './support/database.ts';
import { keepingLog } from './support/log.ts';

const database = await testDatabase();
const queue = await openQueue(database);
afterAll(() => queue.close());
afterEach(() => vi.useRealTimers());

test('a loop ticks each second though nobody wakes it', async () => {
  vi.useFakeTimers({ toFake: ['setTimeout', 'clearTimeout', 'performance'] });
  let ticks = 0;
  const tick = async () => {
    ticks += 1;
    return false;
  };
  const ticking = loop({ tick, onError: () => undefined });
  await vi.advanceTimersByTimeAsync(0);
  expect([idleMs, ticks]).toEqual([1_000, 1]);
  await vi.advanceTimersByTimeAsync(999);
  expect(ticks).toBe(1);
  await vi.advanceTimersByTimeAsync(1);
  expect(ticks).toBe(2);
  await vi.advanceTimersByTimeAsync(10_000);
  expect(ticks).toBe(12);
  await ticking.stop();
});

test('a coordinator and a worker that are never woken run a run of two steps to its end', async () => {
  const log = keepingLog();
  const done = Promise.withResolvers<void>();
  const load = job('load')
    .step('extract', () => 1)
    .step('copy', { after: ['extract'] }, () => done.resolve());
  const onProgress = () => undefined;
  const worker = new Worker({ database, log, jobs: new Map([[load.name, load]]), name: 'w1', onProgress });
  const coordinator = new Coordinator({ database, queue, settings: {}, log, onProgress });
  await worker.open();
  worker.start();
  coordinator.start();
  await submitRuns(queue, database.execute, [{ job: 'load' }]);
  await done.promise;
  await coordinator.stop();
  await worker.stop();
  const { rows } = await database.execute('select state from lockkeeper.runs', []);
  expect(rows).toEqual([{ state: 'succeeded' }]);
});

test('where the connection that listens is ended, it is opened again and hears', async () => {
  const errors: string[] = [];
  const wakes = new Wakes(database, (error) => errors.push(error.message));
  let heard = Promise.withResolvers<void>();
  wakes.on({ wake: () => heard.resolve() });
  await heard.promise; // It listens.
  heard = Promise.withResolvers();
  const { rows } = await database.execute(
    `select pg_terminate_backend(pid) as ended from pg_stat_activity
     where datname = current_database() and application_name = 'lockkeeper listen'`,
    [],
  );
  expect(rows).toEqual([{ ended: true }]);
  await heard.promise; // It listens again: what was missed meanwhile is one hint.
  expect(errors).not.toEqual([]);
  heard = Promise.withResolvers();
  const other = new Wakes(database, (error) => errors.push(error.message));
  other.send();
  await heard.promise;
  await Promise.all([other.close(), wakes.close()]);
});
