/** Admission looks ahead: a run does not sit on run slots while it can start nothing. */

import { expect, test } from 'vitest';
import { job } from '../../src/jobs.ts';
import { tellStory } from '../support/story.ts';

const story = await tellStory();
const query = job('query', { pool: 'warehouse' }, story.handler);
const load = job('load', story.handler);
const config = (buffer: number) => ({
  concurrency: {
    runs: { max_concurrent_runs: 2 },
    pools: { limits: { warehouse: 1 }, op_granularity_run_buffer: buffer },
  },
});

test('a run that would only wait at its pool stays queued, and leaves its run slot to others', async () => {
  await story.apply(config(0));
  await story.work([query, load]);
  await story.submit('q1', query);
  await story.submit('q2', query);
  await story.submit('l1', load);
  await story.settle();
  expect(story.running()).toEqual(['q1.run', 'l1.run']);
  expect(await story.stateOf('q2')).toBe('queued');
  expect(await story.waitingFor('q2')).toEqual(['pool.warehouse', 'runs{default}']);
  await story.finish('q1.run');
  expect(story.running()).toEqual(['l1.run', 'q2.run']);
});

test('with a buffer, so many may already wait at the pool', async () => {
  await story.apply(config(1));
  await story.work([query, load]);
  await story.submit('q1', query);
  await story.submit('q2', query);
  await story.submit('l1', load);
  await story.settle();
  expect(await story.stateOf('q2')).toBe('admitted');
  expect(await story.waitingFor('q2.run')).toEqual(['pool.warehouse']);
  expect(await story.waitingFor('l1')).toEqual(['runs{default}']);
});

test('a run whose job no live worker knows stays queued until one registers it', async () => {
  await story.work([query, load]);
  await story.crash('w1');
  await story.submit('l1', load);
  await story.settle();
  expect(await story.waitingFor('l1')).toEqual(['workers']);
  expect((await story.why('l1'))[0]?.sentence).toContain('of job "load"');
  await story.work([load], { name: 'w2' });
  await story.settle();
  expect(story.running()).toEqual(['l1.run']);
});
