/** Failures: retries with backoff, timeouts, and workers that are lost. */

import { expect, test } from 'vitest';
import { job } from '../../src/jobs.ts';
import { tellStory } from '../support/story.ts';

const story = await tellStory();

test('a failed step skips what comes after it; the other steps go on', async () => {
  const load = job('load')
    .step('bad', story.handler)
    .step('good', story.handler)
    .step('after', { after: ['bad'] }, story.handler);
  await story.work([load]);
  await story.submit('r1', load);
  await story.settle();
  await story.fail('r1.bad');
  expect(await story.stepsOf('r1')).toEqual({ bad: 'failed', good: 'running', after: 'skipped' });
  expect(await story.stateOf('r1')).toBe('running');
  await story.finish('r1.good');
  expect(await story.stateOf('r1')).toBe('failed');
});

test('a retry waits for its backoff, twice as long each time, and holds nothing meanwhile', async () => {
  const flaky = job('flaky', { pool: 'api', retry: { maxAttempts: 3, backoffMs: 10_000 } }, story.handler);
  await story.apply({ concurrency: { pools: { limits: { api: 1 } } } });
  await story.work([flaky]);
  await story.submit('r1', flaky);
  await story.settle();
  await story.fail('r1.run');
  expect(story.running()).toEqual([]);
  expect(await story.inUse()).toEqual({});
  expect(await story.stepsOf('r1')).toEqual({ run: 'ready' });
  expect((await story.why('r1'))[0]?.sentence).toContain('after its backoff');

  await story.advance(9);
  expect(story.running()).toEqual([]);
  await story.advance(1);
  expect(story.running()).toEqual(['r1.run']);
  expect(story.contextOf('r1.run').attempt).toBe(2);

  await story.fail('r1.run');
  await story.advance(19);
  expect(story.running()).toEqual([]);
  await story.advance(1);
  await story.fail('r1.run', 'the third time');
  expect(await story.stateOf('r1')).toBe('failed');
});

test('a step that runs longer than its timeout has failed, and is tried again if it may be', async () => {
  const slow = job('slow', { timeoutSeconds: 60, retry: { maxAttempts: 2 } }, story.handler);
  await story.work([slow]);
  await story.submit('r1', slow);
  await story.settle();
  await story.advance(60);
  expect(story.contextOf('r1.run').attempt).toBe(1);
  await story.advance(1);
  expect(story.contextOf('r1.run').attempt).toBe(2);
  await story.advance(61);
  expect(await story.stateOf('r1')).toBe('failed');
  const [last] = await story.rows('select last_outcome from lockkeeper.steps where run_id = $1', [
    story.idOf('r1'),
  ]);
  expect(last?.last_outcome).toBe('timed_out');
});

test('a lost worker is not the fault of its step: it runs again, but not for ever', async () => {
  const load = job('load', { pool: 'warehouse', maxLosses: 1 }, story.handler);
  await story.apply({ concurrency: { pools: { limits: { warehouse: 1 } } } });
  await story.work([load]);
  await story.submit('r1', load);
  await story.settle();
  await story.crash('w1');
  expect(await story.stepsOf('r1')).toEqual({ run: 'ready' });
  expect(await story.inUse()).toEqual({});

  await story.work([load], { name: 'w2' });
  await story.settle();
  expect(story.running()).toEqual(['r1.run']);
  expect(story.contextOf('r1.run').attempt).toBe(2);

  await story.crash('w2');
  expect(await story.stateOf('r1')).toBe('failed');
});
