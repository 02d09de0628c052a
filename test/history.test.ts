/** Ended runs move to the history, are seen as before, and are dropped with their day. */

import { expect, test } from 'vitest';
import { job } from '../src/jobs.ts';
import { cancelRuns, resultsOf } from '../src/runs.ts';
import { tellStory } from './support/story.ts';

const story = await tellStory();
const load = job('load')
  .step('extract', story.handler)
  .step('copy', { after: ['extract'] }, story.handler);
const archive = async () => (await story.rows('select * from lockkeeper.archive()'))[0];
const drop = async () => (await story.rows('select * from lockkeeper.drop_history()'))[0];
const views = async () => {
  const ids = ['good', 'bad'].map((name) => story.idOf(name));
  return Promise.all([
    story.rows('select * from lockkeeper.runs where run_id = any ($1) order by run_id', [ids]),
    story.rows('select * from lockkeeper.steps where run_id = any ($1) order by run_id, place', [ids]),
    story.rows('select * from lockkeeper.attempts where run_id = any ($1) order by run_id, place, attempt', [
      ids,
    ]),
    resultsOf(story.database.execute, ids),
  ]);
};
const partitions = async () =>
  (await story.rows("select relname from pg_class where relname ~ '^ended_.*_[0-9]{8}$' order by 1")).map(
    ({ relname }) => relname,
  );

async function endTwoRuns(key: string): Promise<void> {
  await story.work([load]);
  await story.submit('good', load, { key, tags: { customer: 'acme' } });
  await story.submit('bad', load);
  await story.settle();
  await story.finishWith('good.extract', { rows: 1 });
  await story.finishWith('good.copy', [2]);
  await story.fail('bad.extract', 'no network');
}

test('the views show of the history what they showed before', async () => {
  await endTwoRuns('one');
  const before = await views();
  expect(await archive()).toEqual({ archived: 0, more: false });
  await story.advance(301);
  expect(await archive()).toEqual({ archived: 2, more: false });
  for (const table of ['runs', 'steps', 'outcomes', 'inputs'])
    expect(await story.rows(`select * from lockkeeper_data.${table}`), table).toEqual([]);
  expect(await views()).toEqual(before);
  expect(await partitions()).toHaveLength(3);
});

test('of a run that is history, the key is still taken and the state still known', async () => {
  await endTwoRuns('two');
  const good = story.idOf('good');
  const again = async () =>
    (await story.rows(`select * from lockkeeper.submit('{"job": "load", "key": "two"}')`))[0];
  const first = await again();
  await story.advance(301);
  await archive();
  expect(await again()).toEqual(first);
  expect(first).toMatchObject({ created: false });
  expect(await cancelRuns(story.database.execute, [good, '98765432'], false)).toEqual(
    new Map([
      [good, 'succeeded'],
      ['98765432', 'unknown'],
    ]),
  );
});

test('what is older than retention_days is dropped, day by day, and its keys may be used again', async () => {
  await story.apply({ retention_days: 3 });
  await endTwoRuns('three');
  await story.advance(301);
  await archive();
  const before = await partitions();
  expect(await drop()).toEqual({ dropped: [], more: false });
  await story.advance(5 * 86_400);
  expect((await drop())?.dropped).toEqual(expect.arrayContaining(before));
  expect(await partitions()).toEqual([]);
  expect((await views())[0]).toEqual([]);
  const [again] = await story.rows(`select * from lockkeeper.submit('{"job": "load", "key": "three"}')`);
  expect(again).toMatchObject({ created: true });
});

test('null keeps it for ever', async () => {
  await story.apply({ retention_days: null });
  await endTwoRuns('four');
  await story.advance(301);
  await archive();
  await story.advance(4000 * 86_400);
  expect(await drop()).toEqual({ dropped: [], more: false });
});

test('with long retention several days share a partition, beside those that are there', async () => {
  const parts = async () =>
    (
      await story.rows(
        `select first_day::text, next_day - first_day as days from lockkeeper_data.history_parts order by 1 desc limit 2`,
      )
    ).map(({ days }) => days);
  await story.apply({ retention_days: 3 });
  await endTwoRuns('five');
  await story.advance(301);
  await archive();
  expect((await parts())[0]).toBe(1);
  await story.apply({ retention_days: 3000 });
  for (const key of ['six', 'seven']) {
    await story.advance(86_400);
    await endTwoRuns(key);
    await story.advance(301);
    expect(await archive()).toMatchObject({ archived: 2 });
  }
  const [long, short] = await parts();
  expect(short).toBe(1);
  expect(long).toBeGreaterThan(1);
  expect((await views())[0]).toHaveLength(2);
});

test('what is live stays', async () => {
  await story.work([load]);
  await story.submit('good', load);
  await story.submit('bad', load);
  await story.settle();
  await story.advance(1000);
  await archive();
  expect(await story.stateOf('good')).toBe('running');
});
