/** A run that is history is tried again with all that it was submitted with. */

import { expect, test } from 'vitest';
import { z } from 'zod';
import { job } from '../../src/jobs.ts';
import { retryRuns } from '../../src/runs.ts';
import { tellStory } from '../support/story.ts';

const story = await tellStory();
const input = z.object({ file: z.string() });
const etl = job('etl', { input })
  .step('extract', story.handler)
  .step('copy', { after: ['extract'] }, story.handler);

test('its input and the outputs that were there are still known', async () => {
  await story.work([etl]);
  await story.submit('r1', etl, { input: { file: 'a.csv' } });
  await story.settle();
  await story.finishWith('r1.extract', { rows: 7 });
  await story.fail('r1.copy');
  await story.rows('select lockkeeper.advance_clock(600)');
  expect(await story.rows('select archived from lockkeeper.archive()')).toEqual([{ archived: 1 }]);
  const [retried] = await retryRuns(story.database.execute, [story.idOf('r1')]);
  story.name('again', retried?.newRunId ?? '');
  await story.settle();
  expect(story.contextOf('again.copy')).toMatchObject({
    input: { file: 'a.csv' },
    outputs: { extract: { rows: 7 } },
  });
});
