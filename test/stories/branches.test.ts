/** Branch deployments: all of them together, each on its own, and their share of a pool. `runs` is not for them. */

import { beforeAll, expect, test } from 'vitest';
import { job } from '../../src/jobs.ts';
import { tellStory } from '../support/story.ts';

const story = await tellStory();
const load = job('load', story.handler);
const query = job('query', { pool: 'warehouse' }, story.handler);
beforeAll(async () => {
  for (const name of ['pr-1', 'pr-2', 'pr-3']) await story.addDeployment(name, 'branch');
});

test('all together, and each on its own', async () => {
  await story.apply({
    concurrency: {
      branch_deployments: {
        max_concurrent_branch_deployment_runs: 3,
        max_concurrent_runs_per_branch_deployment: 2,
      },
    },
  });
  await story.work([load]);
  for (const run of ['a1', 'a2', 'a3']) await story.submit(run, load, { deployment: 'pr-1' });
  for (const run of ['b1', 'b2']) await story.submit(run, load, { deployment: 'pr-2' });
  await story.submit('full', load);
  await story.settle();
  expect(story.running()).toEqual(['a1.run', 'a2.run', 'b1.run', 'full.run']);
  expect(await story.waitingFor('a3')).toEqual(['branches', 'branches.each{pr-1}']);
  expect(await story.waitingFor('b2')).toEqual(['branches']);
});

test('the limits of full deployments do not see them, nor they those', async () => {
  await story.apply({ concurrency: { runs: { max_concurrent_runs: 0 } } });
  await story.work([load]);
  await story.submit('full', load);
  await story.submit('branch', load, { deployment: 'pr-1' });
  await story.settle();
  expect(story.running()).toEqual(['branch.run']);
});

test('a share of a pool: branches may use one slot of three, and the pool counts it', async () => {
  await story.apply({
    concurrency: {
      pools: { limits: { warehouse: 3 }, op_granularity_run_buffer: 9 },
      branch_deployments: { pools: { warehouse: 1 } },
    },
  });
  await story.work([query]);
  await story.submit('a', query, { deployment: 'pr-1' });
  await story.submit('b', query, { deployment: 'pr-2' });
  for (const run of ['f1', 'f2', 'f3']) await story.submit(run, query);
  await story.settle();
  expect(story.running()).toEqual(['a.run', 'f1.run', 'f2.run']);
  expect(await story.waitingFor('b.run')).toEqual(['branches.pool.warehouse', 'pool.warehouse']);
  expect(await story.waitingFor('f3.run')).toEqual(['pool.warehouse']);
});
