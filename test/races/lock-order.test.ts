/** Who waits for whom: while a third holds a row, two come from both sides. Neither may end in a deadlock. */

import { afterEach, beforeEach, expect, test } from 'vitest';
import { type Executor, executor } from '../../src/database.ts';
import { cancelRuns, retryRuns, setPriority } from '../../src/runs.ts';
import { openStage } from '../support/stage.ts';

const stage = await openStage();
const load = await stage.register('load', { extract: {} });
const setLimit = (limit: object) =>
  stage.rows('select lockkeeper.set_limit($1)', [JSON.stringify({ counts: 'run', capacity: 1, ...limit })]);
const dropLimits = async () => {
  for (const name of ['each', 'all']) await stage.rows('select lockkeeper.drop_limit($1)', [name]);
};
beforeEach(dropLimits);
afterEach(async () => {
  await dropLimits();
  expect(await stage.rows('select * from lockkeeper.violations')).toEqual([]);
});

const lane = (execute: Executor) => execute('select * from lockkeeper.lane()', []);

/** Submits a run with each of these values of the tag `k`, and lanes them under limits that are changed again then. */
async function stale(values: string[]): Promise<string[]> {
  await setLimit({ name: 'each', match: { 'tag.k': true }, per: ['tag.k'] });
  const submissions = values.map((k) => ({ job: 'load', tags: { k } }));
  const rows = await stage.rows('select run_id from lockkeeper.submit($1)', [JSON.stringify(submissions)]);
  await stage.rows('select lockkeeper.lane()');
  await setLimit({ name: 'all' });
  return rows.map((row) => String(row.run_id));
}

/** A third has the row of the statement while `first` begins and waits, and then `second`; then it lets go. */
async function between(
  hold: string,
  first: (execute: Executor) => Promise<unknown>,
  second: (execute: Executor) => Promise<unknown>,
): Promise<void> {
  const clients = await Promise.all([1, 2, 3].map(() => stage.database.pool.connect()));
  const [third, one, two] = clients.map((client) => executor(client)) as [Executor, Executor, Executor];
  try {
    await third('begin', []);
    await third(hold, []);
    const calls: Promise<unknown>[] = [];
    for (const call of [() => first(one), () => second(two)]) {
      const before = await waiting();
      let over = false;
      const made = call().finally(() => {
        over = true;
      });
      made.catch(() => undefined);
      calls.push(made);
      while (!over && (await waiting()) === before);
    }
    await third('commit', []);
    await Promise.all(calls);
  } finally {
    await third('rollback', []);
    for (const client of clients) client.release();
  }
}

const waiting = async () =>
  Number((await stage.rows('select count(*) as n from pg_locks where not granted'))[0]?.n);
const rowOf = (runId: string | undefined) =>
  `select from lockkeeper_data.waiting where run_id = ${runId} and place = 0 for update`;

test('laned again while their priority is changed', async () => {
  const [, two, three, four] = await stale(['a', 'b', 'a', 'a']);
  await between(rowOf(four), lane, (execute) => setPriority(execute, [String(two), String(three)], 7));
});

test('laned again while they are canceled', async () => {
  const [, two, three, four] = await stale(['a', 'b', 'a', 'a']);
  await between(rowOf(four), lane, (execute) => cancelRuns(execute, [String(two), String(three)], false));
});

test('laned again while one is canceled with another that holds the same key', async () => {
  await setLimit({ name: 'each' });
  const lease = await stage.serve(load);
  const [one, two, three] = await stage.submit(load, load, load);
  await stage.tick();
  await setLimit({ name: 'all' });
  // The step that is ready first.
  await lane(stage.execute);
  await between(rowOf(three), lane, (execute) => cancelRuns(execute, [String(one), String(two)], false));
  await lease.close();
});

test('the same runs are retried in another order', async () => {
  const [one, two, three] = (await stage.submit(load, load, load)).map(String) as [string, string, string];
  await cancelRuns(stage.execute, [one, two, three], false);
  await between(
    `select from lockkeeper_data.runs where id = ${three} for update`,
    (execute) => retryRuns(execute, [one, three, two]),
    (execute) => retryRuns(execute, [two, three, one]),
  );
});

test('admitted while its priority is lowered: the other goes first', async () => {
  await setLimit({ name: 'all' });
  await stage.serve(load);
  const [one, two] = await stage.submit(load, load);
  await stage.rows('select lockkeeper.lane()');
  const { second } = await stage.race(
    (execute) => setPriority(execute, [String(one)], -5),
    (execute) => execute('select run_ids from lockkeeper.admit()', []),
  );
  expect(((second.rows[0]?.run_ids ?? []) as unknown[]).map(String)).not.toContain(one);
  await stage.tick();
  expect([await stage.stateOf(String(one)), await stage.stateOf(String(two))]).toEqual([
    'queued',
    'admitted',
  ]);
});
