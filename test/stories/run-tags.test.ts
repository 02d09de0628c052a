/** Run tag limits: of the runs with a tag, with one value of it, or with each value of it, so many at once. */

import { expect, test } from 'vitest';
import { job } from '../../src/jobs.ts';
import { tellStory } from '../support/story.ts';

const story = await tellStory();
const load = job('load', story.handler);
const tagLimits = (...tag_concurrency_limits: object[]) => ({
  concurrency: { runs: { tag_concurrency_limits } },
});

test('by key: all backfills together take one place, whatever their value', async () => {
  await story.apply(tagLimits({ key: 'backfill', limit: 1 }));
  await story.work([load]);
  await story.submit('monday', load, { tags: { backfill: 'monday' } });
  await story.submit('tuesday', load, { tags: { backfill: 'tuesday' } });
  await story.submit('today', load);
  await story.settle();
  expect(story.running()).toEqual(['monday.run', 'today.run']);
  expect(await story.waitingFor('tuesday')).toEqual(['runs.tag.backfill{default}']);

  await story.finish('monday.run');
  expect(story.running()).toEqual(['today.run', 'tuesday.run']);
});

test('by value: one customer is kept small, the others are not', async () => {
  await story.apply(tagLimits({ key: 'customer', value: 'acme', limit: 1 }));
  await story.work([load]);
  for (const run of ['acme1', 'acme2']) await story.submit(run, load, { tags: { customer: 'acme' } });
  for (const run of ['zeta1', 'zeta2']) await story.submit(run, load, { tags: { customer: 'zeta' } });
  await story.settle();
  expect(story.running()).toEqual(['acme1.run', 'zeta1.run', 'zeta2.run']);
  expect(await story.waitingFor('acme2')).toEqual(['runs.tag.customer=acme{default}']);
});

test('for each unique value: every customer gets one, and nobody waits for another', async () => {
  await story.apply(tagLimits({ key: 'customer', value: { applyLimitPerUniqueValue: true }, limit: 1 }));
  await story.work([load]);
  for (const run of ['acme1', 'acme2']) await story.submit(run, load, { tags: { customer: 'acme' } });
  for (const run of ['zeta1', 'zeta2']) await story.submit(run, load, { tags: { customer: 'zeta' } });
  await story.settle();
  expect(story.running()).toEqual(['acme1.run', 'zeta1.run']);
  expect(await story.waitingFor('acme2')).toEqual(['runs.tag.customer=*{default,acme}']);
  expect(await story.inUse()).toEqual({
    'runs.tag.customer=*{default,acme}': 1,
    'runs.tag.customer=*{default,zeta}': 1,
  });
});
