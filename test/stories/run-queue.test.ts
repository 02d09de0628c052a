/** The run queue: of a deployment, never more than so many runs at once; the others wait their turn. */

import { expect, test } from 'vitest';
import { job } from '../../src/jobs.ts';
import { tellStory } from '../support/story.ts';

const story = await tellStory();
const load = job('load', story.handler);

test('two runs at a time, in the order of their submission', async () => {
  await story.apply({ concurrency: { runs: { max_concurrent_runs: 2 } } });
  await story.work([load]);
  for (const run of ['r1', 'r2', 'r3', 'r4']) await story.submit(run, load);
  await story.settle();
  expect(story.running()).toEqual(['r1.run', 'r2.run']);
  expect(await story.inUse()).toEqual({ 'runs{default}': 2 });
  expect(await story.stateOf('r3')).toBe('queued');
  expect(await story.waitingFor('r3')).toEqual(['runs{default}']);

  await story.finish('r1.run');
  expect(story.running()).toEqual(['r2.run', 'r3.run']);

  await story.finish('r2.run', 'r3.run');
  await story.finish('r4.run');
  expect(await story.stateOf('r4')).toBe('succeeded');
  expect(await story.inUse()).toEqual({});
});

test('raising the limit starts what waited; a limit of 0 pauses', async () => {
  await story.apply({ concurrency: { runs: { max_concurrent_runs: 0 } } });
  await story.work([load]);
  await story.submit('r1', load);
  await story.settle();
  expect(await story.stateOf('r1')).toBe('queued');
  expect((await story.why('r1'))[0]?.sentence).toContain('is paused');

  await story.apply({ concurrency: { runs: { max_concurrent_runs: 1 } } });
  await story.settle();
  expect(story.running()).toEqual(['r1.run']);
});
