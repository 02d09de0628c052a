/** Cancel: what does not run ends at once; what runs keeps its slots until its worker ends it. With force, it ends now. */

import { expect, test } from 'vitest';
import { job } from '../../src/jobs.ts';
import { tellStory } from '../support/story.ts';

const story = await tellStory();
const load = job('load')
  .step('extract', { pool: 'warehouse' }, story.handler)
  .step('copy', { after: ['extract'] }, story.handler);
const oneRun = {
  concurrency: { runs: { max_concurrent_runs: 1 }, pools: { limits: { warehouse: 1 } } },
};

test('a queued run ends at once', async () => {
  await story.apply(oneRun);
  await story.work([load]);
  await story.submit('r1', load);
  await story.submit('r2', load);
  await story.settle();
  await story.cancel('r2');
  expect(await story.stateOf('r2')).toBe('canceled');
  expect(await story.stepsOf('r2')).toEqual({ extract: 'canceled', copy: 'canceled' });
  expect(story.running()).toEqual(['r1.extract']);
});

test('a running run keeps its slots until its handler has ended', async () => {
  await story.apply(oneRun);
  await story.work([load]);
  await story.submit('r1', load);
  await story.submit('r2', load);
  await story.settle();
  await story.cancel('r1');
  expect(await story.stateOf('r1')).toBe('running');
  expect(await story.stepsOf('r1')).toEqual({ extract: 'running', copy: 'canceled' });
  expect(story.running()).toEqual(['r1.extract']);

  await story.finish('r1.extract');
  expect(await story.stateOf('r1')).toBe('canceled');
  expect(story.running()).toEqual(['r2.extract']);
});

test('with force it ends now, and what its handler says later is refused', async () => {
  await story.apply(oneRun);
  await story.work([load]);
  await story.submit('r1', load);
  await story.submit('r2', load);
  await story.settle();
  await story.cancel('r1', { force: true });
  expect(await story.stateOf('r1')).toBe('canceled');
  expect(story.running()).toEqual(['r1.extract', 'r2.extract']);

  await story.finish('r1.extract');
  expect(story.log.lines.map(({ message }) => message)).toContain(
    'a finished step was refused: it was no longer ours',
  );
  expect(await story.stateOf('r1')).toBe('canceled');
});

test('an ended run stays as it is', async () => {
  await story.work([load]);
  await story.submit('r1', load);
  await story.settle();
  await story.finish('r1.extract');
  await story.finish('r1.copy');
  await story.cancel('r1', { force: true });
  expect(await story.stateOf('r1')).toBe('succeeded');
});
