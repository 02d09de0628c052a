/** Keys that nobody uses are collected while somebody is about to use them again: neither keys nor slots are lost. */

import { beforeEach, expect, test } from 'vitest';
import type { Executor } from '../../src/database.ts';
import type { Lease } from '../../src/leases.ts';
import { claimAll, openStage } from '../support/stage.ts';

const stage = await openStage();
const load = await stage.register('load', { copy: { pool: 'warehouse' } });
const collect = (execute: Executor) => execute('select lockkeeper.collect_keys()', []);

let lease: Lease;
beforeEach(async () => {
  const runs = { max_concurrent_runs: 1 };
  await stage.apply({ concurrency: { runs, pools: { default_limit: 1 } } });
  lease = await stage.serve(load);
  await stage.submit(load);
  await stage.tick();
  const steps = await claimAll(lease);
  await lease.finish(steps.map((step) => ({ ...step, outcome: 'succeeded' })));
  await stage.submit(load, load);
});

const afterwards = async () => {
  await stage.tick();
  expect(await claimAll(lease)).toHaveLength(1);
  expect(await stage.inUse()).toEqual({ 'pool.*{warehouse}': 1, 'runs{default}': 1 });
};

test('collected first, laned second', async () => {
  await stage.race(collect, (execute) => execute('select lockkeeper.lane()', []));
  await afterwards();
});

test('laned first, collected second', async () => {
  await stage.race((execute) => execute('select lockkeeper.lane()', []), collect);
  await afterwards();
});

test('collected first, admitted second', async () => {
  await stage.rows('select lockkeeper.lane()');
  await stage.race(collect, (execute) => execute('select lockkeeper.admit()', []));
  await afterwards();
});

test('admitted first, collected second', async () => {
  await stage.rows('select lockkeeper.lane()');
  await stage.race((execute) => execute('select lockkeeper.admit()', []), collect);
  await afterwards();
});
