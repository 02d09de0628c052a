/** A lease runs out while its worker is heard of: who was there first decides, and who has ended can do nothing any more. */

import { beforeEach, expect, test } from 'vitest';
import type { Executor } from '../../src/database.ts';
import type { Lease } from '../../src/leases.ts';
import type { Claimed } from '../../src/steps.ts';
import { openStage } from '../support/stage.ts';

const stage = await openStage();
const load = await stage.register('load', { extract: {} });

let lease: Lease;
let held: Claimed;
beforeEach(async () => {
  lease = await stage.serve(load);
  await stage.submit(load);
  await stage.tick();
  [held] = (await lease.claim(1)).steps as [Claimed];
  await stage.rows("update lockkeeper_data.leases set expires_at = lockkeeper.now() - interval '1 s'");
});

const reap = async (execute: Executor) =>
  Number((await execute('select lockkeeper.reap() as reaped', [])).rows[0]?.reaped);
const finish = (execute: Executor) =>
  stage.through(lease, execute).finish([{ ...held, outcome: 'succeeded', output: null }]);

test('a finish that comes while its lease is being reaped is refused', async () => {
  const { first, second, waited } = await stage.race(reap, finish);
  expect([first, second, waited]).toEqual([1, ['refused'], true]);
  expect(await stage.stepsOf(held.runId)).toEqual({ extract: 'running' });
});

test('a lease is not reaped while a finish of its worker is on its way', async () => {
  const { first, second, waited } = await stage.race(finish, reap);
  expect([first, second, waited]).toEqual([['accepted'], 0, false]);
  expect(await reap(stage.execute)).toBe(1);
});

test('a renewal that comes after reap has found the lease run out counts', async () => {
  const { second, waited } = await stage.race(async (execute) => {
    // Reap stands still where it looks at the clock, with the old row of the lease in its hand.
    await execute('lock table lockkeeper_data.clock in access exclusive mode', []);
    await stage.through(lease, execute).renew([held], 60_000);
  }, reap);
  expect([second, waited]).toEqual([0, true]);
  expect(await lease.renew([held], 60_000)).toEqual([]);
  expect(await finish(stage.execute)).toEqual(['accepted']);
});
