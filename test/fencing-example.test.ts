/** The example of a guarded write: an attempt that was given up, but still works, changes nothing any more. */

import { expect, test } from 'vitest';
import { createReport, fencingTable } from '../examples/fencing.ts';
import type { AnyJob } from '../src/jobs.ts';
import { tellStory } from './support/story.ts';

const story = await tellStory();
const { pool } = story.database;
await pool.query(fencingTable);

/** Counts that end when the test says so, by attempt. */
function counting() {
  const counts = new Map<number, PromiseWithResolvers<number>>();
  const count = (attempt: number) => {
    const counted = Promise.withResolvers<number>();
    counts.set(attempt, counted);
    return counted.promise;
  };
  return { count, end: (attempt: number, rows: number) => counts.get(attempt)?.resolve(rows), counts };
}

/** Two workers have the step: one that was given up, and one that has it now. */
async function startTwice(report: AnyJob): Promise<void> {
  await story.work([report], { name: 'w1' });
  await story.submit('r1', report);
  await story.settle();
  await story.crash('w1');
  await story.work([report], { name: 'w2' });
  await story.settle();
}

const written = async () => (await pool.query('select rows from reports')).rows;

test('the newer attempt wins, and what the old one writes late is refused', async () => {
  const { count, end, counts } = counting();
  const writes: (number | null)[] = [];
  const late = Promise.withResolvers<void>();
  const report = createReport(
    {
      query: async (text, values) => {
        const answer = await pool.query(text, values);
        writes.push(answer.rowCount);
        if (writes.length === 2) late.resolve();
        return answer;
      },
    },
    count,
  );
  await startTwice(report);
  expect([...counts.keys()]).toEqual([1, 2]);

  end(2, 200);
  while ((await story.stateOf('r1')) !== 'succeeded') await story.settle();
  expect(await written()).toEqual([{ rows: 200 }]);
  end(1, 100);
  await late.promise;
  expect(writes).toEqual([1, 0]);
  expect(await written()).toEqual([{ rows: 200 }]);
});

test('where the old one writes first, the newer one writes over it', async () => {
  await pool.query('truncate reports');
  const { count, end } = counting();
  const written1 = Promise.withResolvers<void>();
  const report = createReport(
    { query: (text, values) => pool.query(text, values).finally(() => written1.resolve()) },
    count,
  );
  await startTwice(report);
  end(1, 100);
  await written1.promise;
  expect(await written()).toEqual([{ rows: 100 }]);
  end(2, 200);
  while ((await story.stateOf('r1')) !== 'succeeded') await story.settle();
  expect(await written()).toEqual([{ rows: 200 }]);
});
