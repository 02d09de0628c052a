/** The queries of docs/sql.md say the right thing of a database in which something runs, waits, has failed and is paused. */

import { expect, test } from 'vitest';
import { job } from '../../src/jobs.ts';
import { tellStory } from '../support/story.ts';
import { blockNamed, blocksOf } from './blocks.ts';

const page = 'docs/sql.md';
const story = await tellStory();
const load = job('load')
  .step('extract', { pool: 'warehouse' }, story.handler)
  .step('copy', { after: ['extract'] }, story.handler);
const report = job('report', story.handler);

/** One succeeded, one failed, one missed its deadline; one runs, two wait at its pool, three are queued, one is delayed. */
async function scene(): Promise<void> {
  await story.addDeployment('pr-1', 'branch');
  await story.work([load, report]);
  await story.apply({ concurrency: { runs: { max_concurrent_runs: 0 } } });
  await story.submit('good', report);
  await story.submit('bad', report);
  await story.submit('late', report, { queueTimeoutMs: 8_000 });
  await story.advance(10);
  await story.apply({
    concurrency: {
      runs: { max_concurrent_runs: 2 },
      pools: { limits: { warehouse: 1 }, op_granularity_run_buffer: 9 },
    },
  });
  await story.settle();
  await story.advance(20);
  await story.finish('good.run');
  await story.fail('bad.run', 'connection reset');
  for (const run of ['a', 'b', 'c', 'd']) await story.submit(run, load);
  await story.submit('e', load, { deployment: 'pr-1' });
  await story.submit('f', report, { priority: -1 });
  await story.submit('g', report, { startAt: new Date(Date.parse('2100-01-01T00:00:00Z')) });
  await story.settle();
  await story.advance(5);
}

async function ask(name: string): Promise<Record<string, unknown>[]> {
  const rows = await story.rows(blockNamed(page, name));
  return JSON.parse(JSON.stringify(rows));
}

/** Some columns of each row. */
async function answer(name: string, ...columns: string[]): Promise<unknown[][]> {
  return (await ask(name)).map((row) => columns.map((column) => row[column]));
}

test('there are ten, and all are tested here', () => {
  const names = blocksOf(page)
    .filter(({ language }) => language === 'sql')
    .map(({ words }) => words[0]);
  const ten = ['states', 'waiting', 'fullest', 'holders', 'oldest', 'throughput', 'durations'];
  expect(names).toEqual([...ten, 'failures', 'workers', 'overrides', 'delayed', 'violations']);
});

/** What has ended. Told of first, for it is all that ever ended in this database. */
async function ended(): Promise<unknown[]> {
  return [
    await answer('throughput', 'what', 'job', 'state', 'count'),
    await answer('durations', 'job', 'runs', 'waited', 'took'),
    await answer('failures', 'run_id', 'job', 'step', 'error', 'expired'),
  ];
}

test('throughput, durations and failures, before and after the runs have gone to the history', async () => {
  await scene();
  const expected = [
    [
      ['runs', 'report', 'failed', '2'],
      ['runs', 'report', 'succeeded', '1'],
      ['steps', 'report', 'canceled', '1'],
      ['steps', 'report', 'failed', '1'],
      ['steps', 'report', 'succeeded', '1'],
    ],
    [['report', '2', [10, 10], [20, 20]]],
    [
      [story.idOf('bad'), 'report', 'run', 'connection reset', null],
      [story.idOf('late'), 'report', null, null, 'queue_timeout'],
    ],
  ];
  expect(await ended()).toEqual(expected);
  await story.advance(1_000);
  expect(await story.rows('select archived from lockkeeper.archive(1000)')).toEqual([{ archived: 3 }]);
  expect(await ended()).toEqual(expected);
});

test('states, what waits, the fullest limits, holders and the oldest', async () => {
  await scene();
  expect(await answer('states', 'deployment', 'state', 'runs')).toEqual([
    ['default', 'admitted', '1'],
    ['default', 'queued', '4'],
    ['default', 'running', '1'],
    ['pr-1', 'admitted', '1'],
  ]);
  expect(await answer('waiting', 'key', 'counts', 'waiting', 'lanes')).toEqual([
    ['runs{default}', 'run', '3', '2'],
    ['pool.warehouse', 'step', '2', '1'],
  ]);
  expect(await answer('fullest', 'key', 'in_use', 'capacity', 'asked')).toEqual([
    ['pool.warehouse', '1', 1, '2'],
    ['runs{default}', '2', 2, '0'],
  ]);
  expect(await answer('holders', 'run_id', 'step', 'worker', 'amount')).toEqual([
    [story.idOf('a'), 'extract', 'w1', 1],
  ]);
  expect(await answer('oldest', 'job', 'run_id', 'keys')).toEqual([
    ['load', story.idOf('c'), ['runs{default}']],
    ['report', story.idOf('f'), ['runs{default}']],
  ]);
  const [oldest] = await story.rows('select lockkeeper.now() - $1::timestamptz as waited', [
    (await ask('oldest'))[0]?.since,
  ]);
  expect(oldest?.waited).toMatchObject({ seconds: 5 });
});

test('workers', async () => {
  await scene();
  expect(await answer('workers', 'worker', 'live', 'room', 'running', 'jobs')).toEqual([
    ['w1', true, 100, '1', ['load', 'report']],
  ]);
  const [{ versions } = {}] = await ask('workers');
  expect(versions).toEqual(
    (await story.rows('select version from lockkeeper.jobs order by job')).map(({ version }) => version),
  );
  await story.crash('w1');
  expect(await answer('workers', 'worker', 'live')).toEqual([]);
});

test('overrides and pauses, delayed runs, and no violations', async () => {
  await scene();
  expect(await ask('overrides')).toEqual([]);
  await story.rows(`select lockkeeper.override_limit('runs', 1, 'eve', 'the warehouse is slow')`);
  await story.rows(`select lockkeeper.pause('{"job": "report"}', 'eve', 'wrong figures', counts => '{run}')`);
  expect(
    await answer('overrides', 'name', 'source', 'capacity', 'configured', 'override_by', 'override_why'),
  ).toEqual([
    ['paused.job=report', 'pause', 0, null, 'eve', 'wrong figures'],
    ['runs', 'configuration', 1, 2, 'eve', 'the warehouse is slow'],
  ]);
  await story.settle();
  expect(await answer('oldest', 'job', 'keys')).toContainEqual([
    'report',
    ['paused.job=report', 'runs{default}'],
  ]);
  expect(await answer('fullest', 'key', 'in_use', 'capacity')).toContainEqual(['runs{default}', '2', 1]);
  expect(await answer('delayed', 'run_id', 'job', 'until')).toEqual([
    [story.idOf('g'), 'report', '2100-01-01T00:00:00.000Z'],
  ]);
  expect(await ask('violations')).toEqual([]);
  await story.rows(`select lockkeeper.unset_override('runs'), lockkeeper.resume('{"job": "report"}')`);
});
