/** The worker: what a handler gets, what becomes of what it returns, and how the worker ends. */

import { expect, test } from 'vitest';
import { z } from 'zod';
import { job } from '../src/jobs.ts';
import { AttemptAborted } from '../src/worker/held.ts';
import { tellStory } from './support/story.ts';

const story = await tellStory();
const errorOf = async (run: string) =>
  (await story.rows('select error from lockkeeper.steps where run_id = $1', [story.idOf(run)]))[0]?.error;

test('a handler gets its input as the schema gives it, outputs, run and fencing token', async () => {
  const input = z.object({ file: z.string(), rows: z.number().default(10) });
  const load = job('load', { input })
    .step('extract', story.handler)
    .step('copy', { after: ['extract'] }, story.handler);
  await story.work([load]);
  const tags = { customer: 'acme' };
  const runId = await story.submit('r1', load, { input: { file: 'a.csv' }, tags });
  await story.settle();
  await story.finishWith('r1.extract', { at: new Date(0) });
  expect(story.contextOf('r1.copy')).toMatchObject({
    run: { id: runId, job: 'load', deployment: 'default', tags },
    step: 'copy',
    attempt: 1,
    input: { file: 'a.csv', rows: 10 },
    outputs: { extract: { at: '1970-01-01T00:00:00.000Z' } },
  });
  expect(story.contextOf('r1.copy').fencingToken).toBeGreaterThan(0);
});

test('an output that cannot be stored fails its own step, and no other of the same batch', async () => {
  const load = job('load', story.handler);
  await story.work([load]);
  const outputs = { good: 'fine', nul: 'a\0b', big: 5n, map: new Map(), none: undefined };
  for (const run of Object.keys(outputs)) await story.submit(run, load);
  await story.settle();
  const ends = Object.entries(outputs).map(([run, output]) => story.finishWith(`${run}.run`, output));
  await Promise.all(ends);
  await story.settle();
  const states = await Promise.all(Object.keys(outputs).map((run) => story.stateOf(run)));
  expect(states).toEqual(['succeeded', 'failed', 'failed', 'failed', 'succeeded']);
  expect(await errorOf('nul')).toMatchObject({ message: expect.stringContaining('cannot be stored') });
});

test('what a handler throws is stored, whatever it is', async () => {
  const load = job('load', () => {
    throw 'just text\0';
  });
  await story.work([load]);
  await story.submit('r1', load);
  await story.settle();
  expect(await errorOf('r1')).toEqual({ name: 'Error', message: 'just text\uFFFD' });
});

test('progress and the log carry run, step and attempt', async () => {
  const load = job('load', ({ progress, log }) => {
    progress({ rows: 5 });
    log.info('half-way');
  });
  await story.work([load]);
  await story.submit('r1', load);
  await story.settle();
  expect(story.log.lines.map(({ message }) => message)).toEqual(['progress', 'half-way']);
});

test('a canceled run aborts the signal of its handlers', async () => {
  const load = job('load', story.handler);
  await story.work([load], { leaseMs: 200 });
  await story.submit('r1', load);
  await story.settle();
  const { signal } = story.contextOf('r1.run');
  const aborted = new Promise((resolve) => signal.addEventListener('abort', resolve));
  await story.cancel('r1');
  await aborted;
  expect(signal.reason).toBeInstanceOf(AttemptAborted);
  expect(signal.reason.reason).toBe('canceled');
  await story.settle();
  expect(await story.stateOf('r1')).toBe('canceled');
});

test('a lease that has ended aborts everything, and the worker opens a new one', async () => {
  const load = job('load', story.handler);
  await story.work([load]);
  await story.submit('r1', load);
  await story.settle();
  const { signal } = story.contextOf('r1.run');
  await story.advance(7_201);
  expect(signal.reason).toMatchObject({ reason: 'lost' });
  expect(story.running()).toEqual(['r1.run']);
  expect(story.contextOf('r1.run').attempt).toBe(2);
});

test('a worker that stops lets its handlers end, and claims nothing more', async () => {
  const load = job('load', story.handler);
  const worker = await story.work([load], { graceMs: 60_000, room: 1 });
  await story.submit('r1', load);
  await story.submit('r2', load);
  await story.settle();
  const stopped = worker.stop();
  await story.finish('r1.run');
  await stopped;
  expect(await story.stateOf('r1')).toBe('succeeded');
  expect(await story.stepsOf('r2')).toEqual({ run: 'ready' });
  expect(await story.rows('select * from lockkeeper.workers where live')).toEqual([]);
});

test('after its grace it aborts them', async () => {
  const load = job('load', story.handler);
  const worker = await story.work([load], { graceMs: 0 });
  await story.submit('r1', load);
  await story.settle();
  const { signal } = story.contextOf('r1.run');
  await worker.stop();
  expect(signal.reason).toMatchObject({ reason: 'draining' });
});

test('a handler that is gone from the code fails its step in words', async () => {
  const old = job('load').step('extract', story.handler);
  const worker = await story.work([old]);
  await story.submit('r1', old);
  Object.assign(old, { handlerOf: () => undefined });
  await story.settle();
  expect(worker.running).toBe(0);
  expect(await errorOf('r1')).toMatchObject({
    message: 'This worker has no handler for step extract of job load.',
  });
});
