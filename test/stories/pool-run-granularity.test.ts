/** Pools at run granularity: a run holds its slots from admission to its end, as many as its greediest step asks. */

import { expect, test } from 'vitest';
import { job } from '../../src/jobs.ts';
import { tellStory } from '../support/story.ts';

const story = await tellStory();
const load = job('load')
  .step('extract', story.handler)
  .step('copy', { after: ['extract'], pool: { warehouse: 2 } }, story.handler)
  .step('check', { after: ['copy'], pool: 'warehouse' }, story.handler);

test('the pool is taken before its first step comes, and until the last has ended', async () => {
  await story.apply({ concurrency: { pools: { granularity: 'run', limits: { warehouse: 3 } } } });
  await story.work([load]);
  await story.submit('r1', load);
  await story.submit('r2', load);
  await story.settle();
  expect(story.running()).toEqual(['r1.extract']);
  expect(await story.inUse()).toEqual({ 'pool.warehouse': 2 });
  expect(await story.waitingFor('r2')).toEqual(['pool.warehouse']);

  await story.finish('r1.extract');
  await story.finish('r1.copy');
  expect(await story.inUse()).toEqual({ 'pool.warehouse': 2 });
  await story.finish('r1.check');
  expect(story.running()).toEqual(['r2.extract']);
});
