/** A failed run is tried again from its failed steps: as a new run, which keeps what had succeeded. */

import { expect, test } from 'vitest';
import { job } from '../../src/jobs.ts';
import { retryRuns } from '../../src/runs.ts';
import { tellStory } from '../support/story.ts';

const story = await tellStory();
const etl = job('etl')
  .step('extract', story.handler)
  .step('other', { pool: 'api' }, story.handler)
  .step('copy', { after: ['extract'], pool: 'warehouse' }, story.handler)
  .step('report', { after: ['copy', 'other'] }, story.handler);

async function failedRun(name: string): Promise<void> {
  await story.submit(name, etl, { tags: { customer: 'acme' }, priority: 3, maxConcurrent: 5 });
  await story.settle();
  await story.finishWith(`${name}.extract`, { rows: 7 });
  await story.finish(`${name}.other`);
  await story.fail(`${name}.copy`);
}

async function retry(name: string, as: string) {
  const [retried] = await retryRuns(story.database.execute, [story.idOf(name)]);
  if (retried?.newRunId) story.name(as, retried.newRunId);
  return retried;
}

test('only what had not succeeded runs again, with the outputs that were there', async () => {
  await story.work([etl]);
  await failedRun('r1');
  expect(await story.stateOf('r1')).toBe('failed');
  expect(await retry('r1', 'again')).toMatchObject({ state: 'failed' });
  await story.settle();
  expect(story.running()).toEqual(['again.copy']);
  expect(story.contextOf('again.copy').outputs).toEqual({ extract: { rows: 7 } });
  await story.finish('again.copy');
  await story.finish('again.report');
  expect(await story.stateOf('again')).toBe('succeeded');
  expect(await story.stateOf('r1')).toBe('failed');
  const [run] = await story.rows('select * from lockkeeper.runs where run_id = $1', [story.idOf('again')]);
  expect(run).toMatchObject({
    retry_of: story.idOf('r1'),
    tags: { customer: 'acme' },
    priority: 3,
    max_concurrent: 5,
  });
});

test('a retry that is under way is not made twice; one that failed can be tried again', async () => {
  await story.work([etl]);
  await failedRun('r1');
  const first = await retry('r1', 'again');
  expect((await retry('r1', 'again'))?.newRunId).toBe(first?.newRunId);
  await story.settle();
  await story.fail('again.copy');
  expect(await story.stateOf('again')).toBe('failed');
  await retry('again', 'third');
  await story.settle();
  expect(story.running()).toEqual(['third.copy']);
});

test('what has not ended, has succeeded or is unknown is not tried again', async () => {
  await story.work([etl]);
  await failedRun('r1');
  await retry('r1', 'again');
  await story.settle();
  expect(await retry('again', 'x')).toMatchObject({ newRunId: null, state: 'running' });
  await story.finish('again.copy');
  await story.finish('again.report');
  expect(await retry('again', 'x')).toMatchObject({ newRunId: null, state: 'succeeded' });
  expect(await retryRuns(story.database.execute, ['99999999'])).toMatchObject([
    { newRunId: null, state: 'unknown' },
  ]);
});

test('admission looks ahead at the steps with which the retry begins, not at those of the job', async () => {
  await story.work([etl]);
  await failedRun('r1');
  await story.apply({ concurrency: { pools: { limits: { warehouse: 0, api: 0 } } } });
  await retry('r1', 'again');
  await story.settle();
  expect(await story.waitingFor('again')).toEqual(['pool.warehouse']);
  await story.apply({ concurrency: { pools: { limits: { warehouse: 1, api: 0 } } } });
  await story.settle();
  expect(story.running()).toEqual(['again.copy']);
});

test('a canceled run is tried again too, also when it is history', async () => {
  await story.work([etl]);
  await story.submit('r1', etl, { input: undefined });
  await story.settle();
  await story.finishWith('r1.extract', 1);
  await story.cancel('r1', { force: true });
  await story.rows('select lockkeeper.advance_clock(600)');
  await story.rows('select lockkeeper.archive()');
  expect(await story.stateOf('r1')).toBe('canceled');
  await retry('r1', 'again');
  await story.settle();
  expect(story.running()).toEqual(expect.arrayContaining(['again.other', 'again.copy']));
});
