/** Priorities: runs are admitted, and steps claimed, the highest first; who does not fit is passed over. */

import { expect, test } from 'vitest';
import { job } from '../../src/jobs.ts';
import { tellStory } from '../support/story.ts';

const story = await tellStory();
const load = job('load', story.handler);

test('an urgent run is admitted before those that waited longer', async () => {
  await story.apply({ concurrency: { runs: { max_concurrent_runs: 1 } } });
  await story.work([load]);
  await story.submit('first', load);
  await story.submit('patient', load);
  await story.submit('urgent', load, { priority: 10 });
  await story.settle();
  expect(story.running()).toEqual(['urgent.run']);
  await story.finish('urgent.run');
  expect(story.running()).toEqual(['first.run']);
  await story.finish('first.run');
  expect(story.running()).toEqual(['patient.run']);
});

test("a step's priority is its run's plus its own", async () => {
  const mixed = job('mixed')
    .step('low', { pool: 'warehouse', priority: -5 }, story.handler)
    .step('high', { pool: 'warehouse', priority: 5 }, story.handler);
  await story.apply({
    concurrency: { pools: { limits: { warehouse: 0 }, op_granularity_run_buffer: 99 } },
  });
  await story.work([mixed]);
  await story.submit('r1', mixed);
  await story.submit('r2', mixed, { priority: 7 });
  await story.settle();
  await story.apply({
    concurrency: { pools: { limits: { warehouse: 1 }, op_granularity_run_buffer: 99 } },
  });
  await story.settle();
  for (const step of ['r2.high', 'r1.high', 'r2.low', 'r1.low']) {
    expect(story.running()).toEqual([step]);
    await story.finish(step);
  }
});

test('a blocked urgent run does not hold up the others', async () => {
  const query = job('query', { pool: 'warehouse' }, story.handler);
  await story.apply({ concurrency: { pools: { limits: { warehouse: 0 } } } });
  await story.work([load, query]);
  await story.submit('urgent', query, { priority: 100 });
  await story.submit('free', load);
  await story.settle();
  expect(story.running()).toEqual(['free.run']);
});
