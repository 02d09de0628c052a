/** A run keeps the job version that it was submitted with; a worker says which versions it accepts. */

import { expect, test } from 'vitest';
import { definitionOf, job } from '../../src/jobs.ts';
import { tellStory } from '../support/story.ts';

const story = await tellStory();
/** The same steps and edges in each, so of one shape. */
const versions = [0, 1, 2].map((priority) =>
  job('load')
    .step('extract', { priority }, story.handler)
    .step('copy', { after: ['extract'] }, story.handler),
);
const [v0, v1, v2] = versions as [(typeof versions)[0], (typeof versions)[0], (typeof versions)[0]];
const other = job('load')
  .step('extract', story.handler)
  .step('verify', { after: ['extract'] }, story.handler);
const registered = (of: Parameters<typeof definitionOf>[0]) =>
  story.rows('select lockkeeper.register($1)', [JSON.stringify(definitionOf(of))]);
const whyOf = async (run: string) => (await story.why(run))[0]?.sentence;

test('a worker accepts versions with the same steps and edges as its own, older and younger', async () => {
  await registered(v0);
  await story.submit('old', v0);
  await story.work([v1]);
  await registered(v2);
  await story.submit('new', v2);
  await story.settle();
  expect(story.running()).toEqual(['new.extract', 'old.extract']);
  expect(
    await story.rows('select run_id, version from lockkeeper.runs where ended_at is null order by run_id'),
  ).toMatchObject([{ version: definitionOf(v0).version }, { version: definitionOf(v2).version }]);
});

test('a version with other steps waits for a worker that accepts it, and says so', async () => {
  await story.work([v1]);
  await registered(other);
  await story.submit('r1', other);
  await story.settle();
  expect(await story.waitingFor('r1')).toEqual(['workers']);
  const { version } = definitionOf(other);
  expect(await whyOf('r1')).toContain(`No live worker accepts version ${version} of job "load"`);
  expect(await whyOf('r1')).toContain(definitionOf(v1).version);
  await story.work([other], { name: 'w2' });
  await story.settle();
  expect(story.running()).toEqual(['r1.extract']);
});

test('exact: its own version alone', async () => {
  await registered(v0);
  await story.submit('old', v0);
  await story.work([v1], { accepts: 'exact' });
  await story.submit('new', v1);
  await story.settle();
  expect(story.running()).toEqual(['new.extract']);
  expect(await story.waitingFor('old')).toEqual(['workers']);
});

test('any: every version of the job, whatever its steps; what the worker has no handler for has failed', async () => {
  await registered(other);
  await story.submit('r1', other);
  await story.work([v1], { accepts: { load: 'any' } });
  await story.settle();
  await story.finish('r1.extract');
  expect(await story.stepsOf('r1')).toEqual({ extract: 'succeeded', verify: 'failed' });
});

test('what a worker accepts must be one of these', async () => {
  await expect(story.work([v1], { accepts: 'newest' as never })).rejects.toThrow(
    'accepts is "newest", allowed are "same", "exact" and "any"',
  );
});
