/** Mechanisms together: a run or step takes the slots of all its limits or of none, and charges nobody while it waits. */

import { expect, test } from 'vitest';
import { job } from '../../src/jobs.ts';
import { tellStory } from '../support/story.ts';

const story = await tellStory();
const load = job('load')
  .step('big', { pool: 'warehouse', tags: { size: 'big' } }, story.handler)
  .step('more', { pool: 'warehouse', tags: { size: 'big' } }, story.handler)
  .step('small', { pool: 'api' }, story.handler);
const buffer = { op_granularity_run_buffer: 99 };

test('pools and executor limits: what waits inside its run leaves the pool to other runs', async () => {
  await story.apply({
    concurrency: { executor: { max_concurrent: 1 }, pools: { ...buffer, limits: { warehouse: 2 } } },
  });
  await story.work([load]);
  for (const run of ['r1', 'r2', 'r3']) await story.submit(run, load);
  await story.settle();
  expect(story.running()).toEqual(['r1.big', 'r2.big', 'r3.small']);
  expect(await story.waitingFor('r1.more')).toEqual(['executor{r1}', 'pool.warehouse']);
  expect(await story.waitingFor('r1.small')).toEqual(['executor{r1}']);

  await story.finish('r3.small');
  expect(await story.waitingFor('r3.big')).toEqual(['pool.warehouse']);
  await story.finish('r1.big');
  expect(story.running()).toEqual(['r2.big', 'r1.more']);
});

test('run queue and pools: a run slot is for the whole run, a pool slot for its step', async () => {
  await story.apply({
    concurrency: { runs: { max_concurrent_runs: 2 }, pools: { ...buffer, limits: { warehouse: 1 } } },
  });
  await story.work([load]);
  for (const run of ['r1', 'r2', 'r3']) await story.submit(run, load);
  await story.settle();
  expect(story.running()).toEqual(['r1.big', 'r1.small', 'r2.small']);
  expect(await story.waitingFor('r3')).toEqual(['runs{default}']);
  await story.finish('r1.big', 'r1.small');
  expect(story.running()).toEqual(['r2.small', 'r1.more']);
  await story.finish('r1.more');
  expect(story.running()).toEqual(['r2.small', 'r2.big', 'r3.small']);
});

test('tags and pools: a tag limit of runs and one of steps, beside a pool', async () => {
  await story.apply({
    concurrency: {
      runs: {
        tag_concurrency_limits: [{ key: 'customer', value: { applyLimitPerUniqueValue: true }, limit: 1 }],
      },
      executor: { tag_concurrency_limits: [{ key: 'size', value: 'big', limit: 1 }] },
      pools: { ...buffer, limits: { warehouse: 3 } },
    },
  });
  await story.work([load]);
  await story.submit('acme1', load, { tags: { customer: 'acme' } });
  await story.submit('acme2', load, { tags: { customer: 'acme' } });
  await story.submit('zeta1', load, { tags: { customer: 'zeta' } });
  await story.settle();
  expect(story.running()).toEqual(['acme1.big', 'acme1.small', 'zeta1.big', 'zeta1.small']);
  expect(await story.waitingFor('acme1.more')).toEqual(['executor.tag.size=big{acme1}']);
  expect(await story.waitingFor('acme2')).toEqual(['runs.tag.customer=*{default,acme}']);
  expect((await story.inUse())['pool.warehouse']).toBe(2);
});

test('all at once', async () => {
  await story.addDeployment('pr-1', 'branch');
  await story.apply({
    concurrency: {
      runs: { max_concurrent_runs: 2, tag_concurrency_limits: [{ key: 'backfill', limit: 1 }] },
      executor: { max_concurrent: 2, tag_concurrency_limits: [{ key: 'size', value: 'big', limit: 1 }] },
      pools: { ...buffer, default_limit: 2, limits: { warehouse: 2 } },
      branch_deployments: { max_concurrent_branch_deployment_runs: 1, pools: { warehouse: 1 } },
    },
  });
  await story.work([load]);
  await story.submit('back1', load, { tags: { backfill: 'x' } });
  await story.submit('back2', load, { tags: { backfill: 'x' } });
  await story.submit('plain', load);
  await story.submit('branch1', load, { deployment: 'pr-1' });
  await story.submit('branch2', load, { deployment: 'pr-1' });
  await story.settle();
  expect(story.running()).toEqual(['back1.big', 'back1.small', 'plain.big', 'plain.small']);
  expect(await story.inUse()).toEqual({
    branches: 1,
    'executor.tag.size=big{back1}': 1,
    'executor.tag.size=big{plain}': 1,
    'executor{back1}': 2,
    'executor{plain}': 2,
    'pool.*{api}': 2,
    'pool.warehouse': 2,
    'runs.tag.backfill{default}': 1,
    'runs{default}': 2,
  });
  expect(await story.waitingFor('back2')).toEqual(['runs.tag.backfill{default}', 'runs{default}']);
  expect(await story.waitingFor('branch1.big')).toEqual(['pool.warehouse']);
  expect(await story.waitingFor('branch2')).toEqual(['branches']);

  await story.finish('back1.big', 'back1.small');
  expect(story.running()).toEqual(['plain.big', 'plain.small', 'back1.more', 'branch1.small']);
});
