/** Keys that nobody uses any more, no lane either, are collected while a run comes to wait at them. */

import { expect, test } from 'vitest';
import type { Executor } from '../../src/database.ts';
import { claimAll, openStage } from '../support/stage.ts';

const stage = await openStage();
const load = await stage.register('load', { copy: {} });
const collect = (execute: Executor) => execute('select lockkeeper.collect_keys() as keys', []);
const lane = (execute: Executor) => execute('select * from lockkeeper.lane()', []);

test.each([
  ['laned first, collected second', lane, collect],
  ['collected first, laned second', collect, lane],
])('%s: the limit counts', async (_, first, second) => {
  await stage.apply({ concurrency: { runs: { max_concurrent_runs: 1 } } });
  const lease = await stage.serve(load);
  await stage.submit(load);
  await stage.tick();
  const steps = await claimAll(lease);
  await lease.finish(steps.map((step) => ({ ...step, outcome: 'succeeded', output: null })));
  await stage.tick();
  await claimAll(lease);
  expect(await stage.rows('select * from lockkeeper_data.lanes')).toEqual([]);
  await stage.submit(load, load);
  await stage.race(first, second);
  await stage.tick();
  expect(await claimAll(lease)).toHaveLength(1);
  expect(await stage.inUse()).toEqual({ 'runs{default}': 1 });
});
