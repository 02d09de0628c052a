/** What waits while limits change is laned again: meanwhile nobody starts under the old limits, and nobody is passed. */

import { afterEach, expect, test } from 'vitest';
import { cancelRuns } from '../src/runs.ts';
import type { Claimed } from '../src/steps.ts';
import { claimAll, openStage } from './support/stage.ts';

const stage = await openStage();
const load = await stage.register('load', { copy: { pool: 'warehouse', tags: { kind: 'heavy' } } });
const warehouse = { concurrency: { pools: { limits: { warehouse: { limit: 1 } } } } };
const succeeded = (step: Claimed | undefined) => [
  { ...(step as Claimed), outcome: 'succeeded' as const, output: null },
];
const laneAndAdmit = async () => {
  await stage.rows('select * from lockkeeper.lane(1)');
  return stage.rows('select run_ids from lockkeeper.admit()');
};

afterEach(async () => expect(await stage.rows('select * from lockkeeper.violations')).toEqual([]));

test('a step is not claimed before it was laned under the new limits', async () => {
  const lease = await stage.serve(load);
  await stage.submit(load, load);
  await stage.tick();
  await stage.apply(warehouse);
  expect(await claimAll(lease)).toEqual([]);
  await stage.tick();
  expect(await claimAll(lease)).toHaveLength(1);
});

test('what ready steps ask is counted under the new limits, before any run looks at it', async () => {
  await stage.serve(load);
  await stage.submit(load);
  await stage.tick();
  await stage.tick(); // The lane of runs that it emptied is gone.
  await stage.apply(warehouse);
  const [second = ''] = await stage.submit(load);
  // The call does no more than to give the new run its lane.
  expect(await laneAndAdmit()).toEqual([{ run_ids: [] }]);
  await stage.tick();
  expect(await stage.stateOf(second)).toBe('queued');
  expect(await stage.rows('select * from lockkeeper.violations')).toEqual([]);
});

test('a new run does not pass those that are not laned again yet', async () => {
  const runs = (max_concurrent_runs: number) => ({ concurrency: { runs: { max_concurrent_runs } } });
  await stage.serve(load);
  await stage.apply(runs(0));
  const [first = ''] = await stage.submit(load);
  await stage.tick();
  const { concurrency } = runs(1);
  await stage.apply({ concurrency: { ...concurrency, executor: { max_concurrent: 1 } } });
  const [second = ''] = await stage.submit(load);
  expect(await laneAndAdmit()).toEqual([{ run_ids: [] }]);
  await stage.tick();
  expect([await stage.stateOf(first), await stage.stateOf(second)]).toEqual(['admitted', 'queued']);
});

test('a lane that was woken and is found empty when it is laned again wakes the next', async () => {
  const limit = { name: 'heavy', counts: 'step', match: { 'tag.kind': 'heavy' }, capacity: 1 };
  await stage.rows('select lockkeeper.set_limit($1)', [JSON.stringify(limit)]);
  const later = await stage.register('later', {
    wait: {},
    copy: { after: ['wait'], tags: { kind: 'heavy' } },
  });
  const lease = await stage.serve(load, later);
  const [, sleeper = ''] = await stage.submit(load, load, later);
  await stage.tick();
  const steps = await claimAll(lease);
  expect(steps.map(({ step }) => step)).toEqual(['copy', 'wait']);
  await stage.apply({ concurrency: { executor: { max_concurrent: 9 } } });
  // Its next step sleeps in a lane of the new limits, behind one in a lane of the old.
  await lease.finish(succeeded(steps[1]));
  expect(await claimAll(lease)).toEqual([]);
  await lease.finish(succeeded(steps[0]));
  await cancelRuns(stage.execute, [sleeper], false);
  await stage.tick();
  expect(await claimAll(lease)).toMatchObject([{ job: 'later', step: 'copy' }]);
  await stage.rows("select lockkeeper.drop_limit('heavy')");
});
