/** The example's own judgement: that it sees a limit that was exceeded, and a row that is missing. */

import { readFileSync } from 'node:fs';
import { describe, expect, test } from 'vitest';
import { countRows, dataFiles, readTables } from '../examples/data.ts';
import { createJobs } from '../examples/jobs.ts';
import { keysOf, type Limit } from '../examples/keys.ts';
import { Observer, seenOf } from '../examples/observer.ts';
import { plannedRuns } from '../examples/plan.ts';
import { problemsOf } from '../examples/summary.ts';
import { definitionOf, job, readConfig } from '../src/index.ts';
import { addDeployment, applyConfig } from '../src/limits/apply.ts';
import { testDatabase } from './support/database.ts';

const database = await testDatabase();

const limit = (row: Partial<Limit> & Pick<Limit, 'name' | 'counts' | 'match'>): Limit => ({
  per: [],
  capacity: 1,
  capacity_attribute: null,
  replaces: [],
  part_of: [],
  look_buffer: null,
  ...row,
});

/** An observer whose clock is set by hand, and handlers that end when they are told. */
function watched() {
  let now = 0;
  const observer = new Observer(() => now);
  const ends = new Map<string, () => void>();
  const submit = (id: string) =>
    observer.submitted({ id, job: 'load', deployment: 'default', kind: 'full', tags: {} });
  const start = (run: string) =>
    void observer.watch(run, 'run', () => new Promise<void>((resolve) => ends.set(run, resolve)));
  const end = async (run: string) => {
    ends.get(run)?.();
    await new Promise(setImmediate);
  };
  const at = (time: number) => {
    now = time;
  };
  return { observer, submit, start, end, at };
}

const definitions = [definitionOf(job('load', { pool: 'warehouse' }, async () => undefined))];
const warehouse = limit({ name: 'pool.warehouse', counts: 'step', match: { pool: 'warehouse' } });
const runs = limit({ name: 'runs', counts: 'run', match: { deployment_kind: 'full' }, per: ['deployment'] });

describe('the observer', () => {
  test('sees more in use at once than the limit allows, of steps and of runs', async () => {
    const { observer, submit, start, end, at } = watched();
    submit('1');
    submit('2');
    start('1');
    at(10);
    start('2');
    at(20);
    await end('1');
    await end('2');
    const seen = seenOf(observer.uses([warehouse, runs], definitions));
    expect(seen.map(({ key, most }) => [key, most])).toEqual([
      ['runs{default}', 2],
      ['pool.warehouse', 2],
    ]);
    expect(problemsOf([], seen)).toEqual([
      'runs{default} was exceeded: 2 in use at once of 1',
      'pool.warehouse was exceeded: 2 in use at once of 1',
    ]);
  });

  test('takes one that starts at the very end of another for the next', async () => {
    const { observer, submit, start, end, at } = watched();
    submit('1');
    submit('2');
    start('1');
    at(10);
    await end('1');
    start('2');
    at(20);
    await end('2');
    const seen = seenOf(observer.uses([warehouse, runs], definitions));
    expect(seen.map(({ most }) => most)).toEqual([1, 1]);
    expect(problemsOf([], seen)).toEqual([]);
  });

  test('counts a handler that never ended', () => {
    const { observer, submit, start, at } = watched();
    submit('1');
    submit('2');
    start('1');
    at(10);
    start('2');
    at(20);
    const [, pool] = seenOf(observer.uses([warehouse, runs], definitions));
    expect(pool?.most).toBe(2);
  });

  test('tells waiting at a full key from waiting beside room', async () => {
    const { observer, submit, start, end, at } = watched();
    submit('1');
    submit('2');
    start('1');
    at(60);
    await end('1');
    at(80);
    start('2');
    at(100);
    await end('2');
    const [run] = seenOf(observer.uses([runs], definitions));
    expect(run?.waited).toBeCloseTo(0.8);
    expect(run?.idle).toBeCloseTo(0.2);
  });
});

test('a missing row and a missing table are problems', () => {
  const loaded = [
    { table: 'cars', expected: 406, rows: 405 },
    { table: 'stocks', expected: 560, rows: null },
    { table: 'wheat', expected: 52, rows: 52 },
  ];
  expect(problemsOf(loaded, [])).toEqual([
    'cars has 405 rows, its file has 406',
    'stocks has no rows, its file has 560',
  ]);
});

test('both ways of counting agree on every file', () => {
  for (const { name } of dataFiles()) {
    const tables = readTables(name).map((table) => [table.name, table.rows.length]);
    expect([...countRows(name)], name).toEqual(tables);
  }
});

test('what a run or a step takes is worked out from the limits as they were applied', async () => {
  const jobs = createJobs({ pool: database.pool, staging: '', observer: new Observer() });
  for (const one of jobs)
    await database.execute('select lockkeeper.register($1)', [JSON.stringify(definitionOf(one))]);
  await addDeployment(database.execute, 'nightly', 'full');
  await addDeployment(database.execute, 'pr-1', 'branch');
  await applyConfig(
    database.execute,
    readConfig(readFileSync(new URL('../examples/lockkeeper.yaml', import.meta.url), 'utf8')),
  );
  const { rows } = await database.execute('select * from lockkeeper.limits', []);
  const namesOf = (subject: Parameters<typeof keysOf>[1]) =>
    keysOf(rows as unknown as Limit[], subject)
      .map(({ key, amount, capacity }) => `${key} ${amount}/${capacity}`)
      .toSorted();
  const base = { deployment: 'default', deployment_kind: 'full', job: 'flights', run: '1' };

  const load = { ...base, step: 'load_1', 'tag.size': 'big' };
  expect(namesOf({ counts: 'step', attributes: load, pools: { warehouse: 2 } })).toEqual(
    ['executor.tag.size=big{1} 1/2', 'pool.warehouse 2/6', 'executor{1} 1/3'].toSorted(),
  );
  const ownSetting = { ...base, job: 'maps', step: 'extract', max_concurrent: '1' };
  expect(namesOf({ counts: 'step', attributes: ownSetting, pools: { disk: 1 } })).toEqual([
    'executor@run{1} 1/1',
    'pool.*{disk} 1/3',
  ]);
  const ownBlock = { ...base, job: 'maps', step: 'count' };
  expect(namesOf({ counts: 'step', attributes: ownBlock, pools: { reports: 1 } })).toEqual([
    'executor@maps{1} 1/1',
    'pool.reports{default} 1/5',
  ]);
  const run = { ...base, 'tag.family': 'flights', 'tag.size': 'big' };
  expect(namesOf({ counts: 'run', attributes: run, pools: {} })).toEqual([
    'runs.tag.family=*{default,flights} 1/3',
    'runs.tag.size=big{default} 1/2',
    'runs{default} 1/8',
  ]);
  expect(namesOf({ counts: 'run', attributes: { ...run, deployment: 'nightly' }, pools: {} })).toEqual([
    'runs@nightly 1/1',
  ]);
  const branch = { ...run, deployment: 'pr-1', deployment_kind: 'branch' };
  expect(namesOf({ counts: 'run', attributes: branch, pools: {} })).toEqual([
    'branches 1/3',
    'branches.each{pr-1} 1/2',
    'branches.tag.family=*{flights} 1/1',
  ]);
});

test('more runs are planned than may run at once, in every deployment', () => {
  const planned = Map.groupBy(plannedRuns(), ({ deployment }) => deployment);
  expect([...planned].map(([deployment, runs]) => [deployment, runs.length])).toEqual([
    ['default', 68],
    ['pr-1', 9],
    ['pr-2', 9],
    ['nightly', 3],
  ]);
});
