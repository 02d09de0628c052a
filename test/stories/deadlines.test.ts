/** Runs that start later, must start soon, or must end in time. */

import { expect, test } from 'vitest';
import { job } from '../../src/jobs.ts';
import { tellStory } from '../support/story.ts';

const story = await tellStory();
const load = job('load')
  .step('extract', story.handler)
  .step('copy', { after: ['extract'] }, story.handler);
const one = { concurrency: { runs: { max_concurrent_runs: 1 } } };
const inSeconds = async (seconds: number) =>
  (await story.rows('select lockkeeper.now() + make_interval(secs => $1) as at', [seconds]))[0]?.at as Date;
const runOf = async (run: string) =>
  (await story.rows('select * from lockkeeper.runs where run_id = $1', [story.idOf(run)]))[0];

test('a delayed run is queued, asks for nothing before its time, and keeps its place in the order', async () => {
  await story.apply(one);
  await story.work([load]);
  const startAt = await inSeconds(3600);
  await story.submit('r1', load, { startAt });
  await story.submit('r2', load);
  await story.submit('r3', load);
  await story.settle();
  expect(story.running()).toEqual(['r2.extract']);
  expect(await runOf('r1')).toMatchObject({ state: 'queued', start_at: startAt });
  expect(await story.waitingFor('r1')).toEqual([]);
  expect((await story.why('r1'))[0]?.sentence).toContain('delayed until');

  await story.advance(3600);
  expect(await story.waitingFor('r1')).toEqual(['runs{default}']);
  await story.finish('r2.extract');
  await story.finish('r2.copy');
  expect(story.running()).toEqual(['r1.extract']);
});

test('a time that is over delays nothing; a delayed run can be canceled', async () => {
  await story.work([load]);
  await story.submit('r1', load, { startAt: await inSeconds(-5) });
  await story.submit('r2', load, { startAt: await inSeconds(5) });
  await story.cancel('r2');
  expect(await story.stateOf('r1')).toBe('running');
  expect(await story.stateOf('r2')).toBe('canceled');
  await story.advance(10);
  expect(await story.stateOf('r2')).toBe('canceled');
});

test('a run that waited too long in the queue has failed, and says why', async () => {
  await story.apply(one);
  await story.work([load]);
  await story.submit('r1', load);
  await story.submit('r2', load, { queueTimeoutMs: 60_000 });
  await story.submit('r3', load, { queueTimeoutMs: 60_000, startAt: await inSeconds(60) });
  await story.settle();
  await story.advance(60);
  expect(await story.stateOf('r2')).toBe('queued');
  await story.advance(1);
  expect(await runOf('r2')).toMatchObject({ state: 'failed', expired: 'queue_timeout', admission: null });
  expect(await story.stepsOf('r2')).toEqual({ extract: 'canceled', copy: 'canceled' });
  // Its time is counted from the time at which it asked.
  expect(await story.stateOf('r3')).toBe('queued');
  await story.advance(60);
  expect(await runOf('r3')).toMatchObject({ state: 'failed', expired: 'queue_timeout' });
});

test('a run that was admitted in time is left alone by its queue timeout', async () => {
  await story.work([load]);
  await story.submit('r1', load, { queueTimeoutMs: 60_000 });
  await story.settle();
  await story.advance(100);
  expect(await story.stateOf('r1')).toBe('running');
  expect(await story.rows('select * from lockkeeper_data.deadlines')).toEqual([]);
});

test('a run that does not end in time has failed: what runs of it ends now, slots and all', async () => {
  await story.apply(one);
  await story.work([load]);
  await story.submit('r1', load, { timeoutMs: 60_000 });
  await story.submit('r2', load);
  await story.settle();
  await story.advance(60);
  expect(await story.stateOf('r1')).toBe('running');
  await story.advance(1);
  expect(await runOf('r1')).toMatchObject({ state: 'failed', expired: 'timeout' });
  expect(await story.stepsOf('r1')).toEqual({ extract: 'canceled', copy: 'canceled' });
  expect(
    await story.rows('select outcome from lockkeeper.attempts where run_id = $1', [story.idOf('r1')]),
  ).toEqual([{ outcome: 'timed_out' }]);
  expect(story.running()).toContain('r2.extract');
  expect(await story.inUse()).toEqual({ 'runs{default}': 1 });
});

test('a run that is being canceled ends as canceled, also when its time is over', async () => {
  await story.work([load]);
  await story.submit('r1', load, { timeoutMs: 60_000 });
  await story.settle();
  await story.cancel('r1');
  await story.advance(61);
  expect(await runOf('r1')).toMatchObject({ state: 'canceled', expired: null });
});

test('a run that ends in time has no deadline any more', async () => {
  await story.work([load]);
  await story.submit('r1', load, { timeoutMs: 60_000, queueTimeoutMs: 60_000 });
  await story.settle();
  await story.finish('r1.extract');
  await story.finish('r1.copy');
  expect(await story.stateOf('r1')).toBe('succeeded');
  expect(await story.rows('select * from lockkeeper_data.deadlines')).toEqual([]);
});

test('another priority changes the place in the queue', async () => {
  await story.apply(one);
  await story.work([load]);
  for (const run of ['r1', 'r2', 'r3']) await story.submit(run, load);
  await story.settle();
  const priority = (run: string, to: number) =>
    story.rows('select state from lockkeeper.set_priority($1, $2)', [[story.idOf(run)], to]);
  expect(await priority('r3', 7)).toEqual([{ state: 'queued' }]);
  expect(await priority('r1', 7)).toEqual([{ state: 'running' }]);
  expect(await runOf('r3')).toMatchObject({ priority: 7 });
  expect(await runOf('r1')).toMatchObject({ priority: 0 });
  await story.finish('r1.extract');
  await story.finish('r1.copy');
  expect(story.running()).toEqual(['r3.extract']);
  expect((await story.rows('select state from lockkeeper.set_priority($1, 1)', [['999999']]))[0]?.state).toBe(
    'unknown',
  );
});
