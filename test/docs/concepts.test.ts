/** docs/concepts.md: the limit of one's own does what the page says. */

import { expect, test } from 'vitest';
import { job } from '../../src/jobs.ts';
import { tellStory } from '../support/story.ts';
import { blockNamed } from './blocks.ts';

const story = await tellStory();
const load = job('load', story.handler);
const other = job('other', story.handler);

test('one run of the job for each customer, whatever is applied', async () => {
  await story.rows(blockNamed('docs/concepts.md', 'each-customer'));
  await story.apply({ concurrency: { runs: { max_concurrent_runs: 10 } } });
  await story.work([load, other]);
  await story.submit('a1', load, { tags: { customer: 'acme' } });
  await story.submit('a2', load, { tags: { customer: 'acme' } });
  await story.submit('b1', load, { tags: { customer: 'bolt' } });
  await story.submit('o1', other, { tags: { customer: 'acme' } });
  await story.settle();
  expect(story.running()).toEqual(['a1.run', 'b1.run', 'o1.run']);
  expect(await story.waitingFor('a2')).toEqual(['load.each-customer{acme}']);

  await story.finish('a1.run');
  expect(story.running()).toEqual(['b1.run', 'o1.run', 'a2.run']);
  await story.rows(`select lockkeeper.drop_limit('load.each-customer')`);
});
