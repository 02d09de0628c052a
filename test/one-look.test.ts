/** One look for both loops of a pod: the coordinator's tick also sees whether the workers beside it should claim. */

import { afterEach, expect, test, vi } from 'vitest';
import { Coordinator } from '../src/coordinator/coordinator.ts';
import { readTodo } from '../src/coordinator/tick.ts';
import { job } from '../src/jobs.ts';
import { createLockkeeper } from '../src/lockkeeper.ts';
import { loop } from '../src/wake.ts';
import { keepingLog } from './support/log.ts';
import { claimAll, openStage } from './support/stage.ts';

const stage = await openStage();
const [load, other] = [
  await stage.register('load', { copy: {} }),
  await stage.register('other', { copy: {} }),
];
const worthAClaim = async (...leases: string[]) => (await readTodo(stage.execute, stage.queue, leases)).claim;
afterEach(() => vi.useRealTimers());

test('a lease should claim when a step is ready for it, and no other lease', async () => {
  const [lease, idle] = [await stage.serve(load), await stage.serve(other)];
  expect(await worthAClaim(lease.id, idle.id)).toBe(false);
  await stage.submit(load);
  expect(await worthAClaim(lease.id)).toBe(false);
  await stage.tick();
  expect([await worthAClaim(lease.id), await worthAClaim(idle.id), await worthAClaim()]).toEqual([
    true,
    false,
    false,
  ]);
  expect(await worthAClaim(idle.id, lease.id)).toBe(true);
  await claimAll(lease);
  // Another claim sees that nothing is left in the lane.
  await claimAll(lease);
  expect(await worthAClaim(idle.id, lease.id)).toBe(false);
});

test('a coordinator tells the workers beside it what it saw, but not one without a lease', async () => {
  const lease = await stage.serve(load);
  const seen: boolean[] = [];
  let told = Promise.withResolvers<void>();
  const looked = (claim: boolean) => {
    seen.push(claim);
    told.resolve();
  };
  const draining = vi.fn<(claim: boolean) => void>();
  const { database, queue } = stage;
  const coordinator = new Coordinator({
    database,
    queue,
    settings: {},
    log: keepingLog(),
    onProgress: () => undefined,
    workers: () => [
      { lease: lease.id, looked },
      { lease: undefined, looked: draining },
    ],
  });
  vi.spyOn(coordinator, 'keep').mockResolvedValue();
  coordinator.start();
  await told.promise;
  expect(seen).toEqual([false]);
  await stage.submit(load);
  await stage.tick();
  told = Promise.withResolvers();
  coordinator.wake();
  await told.promise;
  await coordinator.stop();
  expect([seen.at(-1), draining.mock.calls]).toEqual([true, []]);
});

test('an idle pod sends one look a second, and its worker nothing', async () => {
  const log = keepingLog();
  const { connectionString } = stage.database;
  const lockkeeper = await createLockkeeper({ connectionString, jobs: [job('pod', () => null)], log });
  // The turn to keep is somebody else's.
  await stage.rows("select lockkeeper.keep('00000000-0000-0000-0000-000000000001', 60000)");
  const sent = vi.spyOn(lockkeeper.database.pool, 'query');
  const looked = () => sent.mock.calls.map(([text]) => String(text).includes('lockkeeper.todo('));
  await lockkeeper.work();
  // Where this machine stands still for two seconds, a worker asks by itself; else there would be a claim beside each look.
  await vi.waitFor(() => expect(looked().slice(-4)).toEqual([true, true, true, true]), 20_000);
  await lockkeeper.close();
  expect(log.lines).toEqual([]);
});

test('a loop that is put off ticks later by itself, and at once when woken', async () => {
  vi.useFakeTimers({ toFake: ['setTimeout', 'clearTimeout', 'performance'] });
  let ticks = 0;
  const tick = async () => {
    ticks += 1;
    return false;
  };
  const ticking = loop({ tick, onError: () => undefined });
  await vi.advanceTimersByTimeAsync(500);
  ticking.putOff(2_000);
  await vi.advanceTimersByTimeAsync(1_999);
  expect(ticks).toBe(1);
  ticking.putOff(2_000);
  ticking.wake();
  await vi.advanceTimersByTimeAsync(0);
  expect(ticks).toBe(2);
  // What put it off before was about that rest.
  await vi.advanceTimersByTimeAsync(1_000);
  expect(ticks).toBe(3);
  await ticking.stop();
});

test('a loop whose tick failed is not put off: it tries again', async () => {
  vi.useFakeTimers({ toFake: ['setTimeout', 'clearTimeout', 'performance'] });
  const errors: Error[] = [];
  const ticking = loop({
    tick: () => Promise.reject(new Error('no')),
    onError: (error) => errors.push(error),
  });
  await vi.advanceTimersByTimeAsync(0);
  ticking.putOff(60_000);
  await vi.advanceTimersByTimeAsync(2_000);
  expect(errors.length).toBeGreaterThan(1);
  await ticking.stop();
});
