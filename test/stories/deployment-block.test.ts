/** A full deployment with a `runs` block of its own: it replaces the shared one, as a whole. */

import { expect, test } from 'vitest';
import { job } from '../../src/jobs.ts';
import { tellStory } from '../support/story.ts';

const story = await tellStory();
const load = job('load', story.handler);

test('staging has its own limit, and none of the shared ones', async () => {
  await story.addDeployment('staging', 'full');
  await story.apply({
    concurrency: {
      runs: { max_concurrent_runs: 1, tag_concurrency_limits: [{ key: 'backfill', limit: 0 }] },
    },
    deployments: { staging: { runs: { max_concurrent_runs: 2 } } },
  });
  await story.work([load]);
  for (const run of ['s1', 's2', 's3']) {
    await story.submit(run, load, { deployment: 'staging', tags: { backfill: 'x' } });
  }
  await story.submit('d1', load);
  await story.submit('d2', load, { tags: { backfill: 'x' } });
  await story.settle();
  expect(story.running()).toEqual(['s1.run', 's2.run', 'd1.run']);
  expect(await story.waitingFor('s3')).toEqual(['runs@staging']);
  expect(await story.waitingFor('d2')).toEqual(['runs.tag.backfill{default}', 'runs{default}']);
});

test('every full deployment counts on its own under the shared block', async () => {
  await story.addDeployment('staging', 'full');
  await story.apply({ concurrency: { runs: { max_concurrent_runs: 1 } } });
  await story.work([load]);
  await story.submit('d1', load);
  await story.submit('s1', load, { deployment: 'staging' });
  await story.settle();
  expect(await story.inUse()).toEqual({ 'runs{default}': 1, 'runs{staging}': 1 });
});
