/** Executor limits: inside each single run, so many steps at once; whatever other runs do. */

import { expect, test } from 'vitest';
import { job } from '../../src/jobs.ts';
import { tellStory } from '../support/story.ts';

const story = await tellStory();
const wide = job('wide').step('a', story.handler).step('b', story.handler).step('c', story.handler);
const narrow = job('narrow', { executor: { maxConcurrent: 1 } })
  .step('a', story.handler)
  .step('b', story.handler);

test('max_concurrent counts inside each run', async () => {
  await story.apply({ concurrency: { executor: { max_concurrent: 2 } } });
  await story.work([wide]);
  await story.submit('r1', wide);
  await story.submit('r2', wide);
  await story.settle();
  expect(story.running()).toEqual(['r1.a', 'r1.b', 'r2.a', 'r2.b']);
  expect(await story.waitingFor('r1.c')).toEqual(['executor{r1}']);

  await story.finish('r1.a');
  expect(story.running()).toEqual(['r1.b', 'r2.a', 'r2.b', 'r1.c']);
});

test("a job's own block replaces the configuration's", async () => {
  await story.apply({ concurrency: { executor: { max_concurrent: 2 } } });
  await story.work([narrow]);
  await story.submit('r1', narrow);
  await story.settle();
  expect(story.running()).toEqual(['r1.a']);
  expect(await story.waitingFor('r1.b')).toEqual(['executor@narrow{r1}']);
});

test("a run's own max_concurrent replaces both", async () => {
  await story.apply({ concurrency: { executor: { max_concurrent: 1 } } });
  await story.work([wide, narrow]);
  await story.submit('r1', wide, { maxConcurrent: 2 });
  await story.submit('r2', narrow, { maxConcurrent: 2 });
  await story.settle();
  expect(story.running()).toEqual(['r1.a', 'r1.b', 'r2.a', 'r2.b']);
  expect(await story.waitingFor('r1.c')).toEqual(['executor@run{r1}']);
});

test('tag limits inside a run: by key, by value, for each unique value', async () => {
  const tagged = job('tagged')
    .step('big1', { tags: { size: 'big', db: 'x' } }, story.handler)
    .step('big2', { tags: { size: 'big', db: 'y' } }, story.handler)
    .step('small1', { tags: { size: 'small', db: 'y' } }, story.handler)
    .step('small2', { tags: { size: 'small', db: 'y' } }, story.handler)
    .step('plain', story.handler);
  const limits = [
    { key: 'size', limit: 3 },
    { key: 'size', value: 'big', limit: 1 },
    { key: 'db', value: { applyLimitPerUniqueValue: true }, limit: 1 },
  ];
  await story.apply({ concurrency: { executor: { tag_concurrency_limits: limits } } });
  await story.work([tagged]);
  await story.submit('r1', tagged);
  await story.settle();
  expect(story.running()).toEqual(['r1.big1', 'r1.small1', 'r1.plain']);
  expect(await story.waitingFor('r1.big2')).toEqual(['executor.tag.db=*{r1,y}', 'executor.tag.size=big{r1}']);
  expect(await story.inUse()).toEqual({
    'executor.tag.db=*{r1,x}': 1,
    'executor.tag.db=*{r1,y}': 1,
    'executor.tag.size=big{r1}': 1,
    'executor.tag.size{r1}': 2,
  });
});
