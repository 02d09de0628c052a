/** Versions that were registered before the worker came. */

import { expect, test } from 'vitest';
import { definitionOf, job } from '../../src/jobs.ts';
import { tellStory } from '../support/story.ts';

const story = await tellStory();
const known = job('load').step('extract', story.handler);
const other = job('load').step('scan', story.handler);

test('one with other steps waits for a worker that has them', async () => {
  await story.rows('select lockkeeper.register($1)', [JSON.stringify(definitionOf(other))]);
  await story.submit('r1', other);
  await story.work([known]);
  await story.settle();
  expect(story.running()).toEqual([]);
  expect(await story.waitingFor('r1')).toEqual(['workers']);
  await story.work([other], { name: 'w2' });
  await story.settle();
  expect(story.running()).toEqual(['r1.scan']);
});
