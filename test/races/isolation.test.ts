/**
 * In a database whose transactions begin as repeatable read or serializable: Lockkeeper's own connections carry read
 * committed, so all of it works; a call of somebody else's is refused (LK001) and changes nothing, unless it is right there.
 */

import { readFile } from 'node:fs/promises';
import pg from 'pg';
import { afterAll, afterEach, describe, expect, test } from 'vitest';
import { createLockkeeper, job } from '../../src/index.ts';
import { submitQueue } from '../../src/queue/boss.ts';
import { cliOn } from '../support/cli.ts';
import { testDatabase } from '../support/database.ts';
import { keepingLog } from '../support/log.ts';
import { strangersBoss } from '../support/pg-boss.ts';
import { rememberNew } from '../support/reset.ts';

const count = job('count', () => 7);

/** Every function that locks or counts. */
const refuses = [
  "set_priority(races.runs('free4'), 9)",
  "serve(races.lease('c'), '[]')",
  `open_lease('d', 1, '[{"job": "wide", "version": "1"}]')`,
  "close_lease(races.lease('a'))",
  'reap()',
  'apply_limits(races.limit_rows(5, 12))',
  "register(races.definition('scan', '2'))",
  'lane()',
  'admit()',
  'sleep_unserved()',
  "claim(races.lease('a'), 100, 1)",
  "finish(races.lease('a'), races.items('load1.extract succeeded'))",
  "exchange(races.lease('a'), races.items('load1.extract succeeded'), 100, 1)",
  "cancel(races.runs('free1'))",
  "cancel_queued(races.runs('free4'))",
  'sweep()',
  'expire()',
  'collect_keys()',
  "delete_deployment('pr-1', 'cancel')",
  `set_limit('{"name": "mine", "counts": "run", "capacity": 1}')`,
  "drop_limit('mine')",
  "override_limit('pool.api', 1, 'ops', 'because')",
  "unset_override('pool.api')",
  "pause('{}', 'ops', 'because')",
  "resume('{}')",
  'end_overrides()',
  'repair()',
  "retry(races.runs('failed'))",
  "renew_lease(races.lease('a'), '[]')",
  "keep('00000000-0000-0000-0000-000000000001', 25000)",
  'take_ticket_changes(10)',
  'archive()',
  'drop_history()',
];

/** What only looks, or writes rows of its own: in a transaction of any level it does its work. */
const works = [
  'now()',
  "stop_clock('2026-01-01 12:11Z')",
  'advance_clock(1)',
  "add_deployment('pr-2', 'branch')",
  `submit('[{"job": "free"}, {"job": "scan", "branch": "pr-1"}, {"job": "free", "key": "k"}]')`,
  "plan_limits('[]')",
  "remake_tickets(races.runs('free4'))",
  "audit_tickets(0, 10, '{}')",
  "why(races.run('wide1'))",
  'todo()',
  'end_branches()',
  'audit_keys()',
  'audit_lanes()',
  'audit_runs(0, 10)',
];
const nameOf = (call: string) => call.slice(0, call.indexOf('('));

describe.each(['repeatable read', 'serializable'])('where transactions begin as %s', async (level) => {
  const database = await testDatabase({ max: 3 });
  for (const name of ['world', 'judge'])
    await database.pool.query(await readFile(`${import.meta.dirname}/${name}.sql`, 'utf8'));
  await database.pool.query('call races.build()');
  const again = await rememberNew(database);
  const [{ name }] = (await database.execute('select current_database() as name', [])).rows as [
    { name: string },
  ];
  await database.execute(`alter database ${name} set default_transaction_isolation = '${level}'`, []);
  afterEach(() => again(database.execute));

  const connect = async () => {
    const client = new pg.Client({ connectionString: database.connectionString });
    await client.connect();
    return client;
  };
  const [one, two] = await Promise.all([connect(), connect()]);
  afterAll(() => Promise.all([one.end(), two.end()]));
  const client = await strangersBoss(database);
  const everything = async () => {
    const { rows } = await database.execute('select * from lockkeeper_testing.tables() t', []);
    const texts: Record<string, unknown> = {};
    for (const { t } of rows) {
      const all = `select array_agg(x::text order by x::text) as rows from lockkeeper_data.${t} x`;
      texts[String(t)] = (await database.execute(all, [])).rows[0]?.rows;
    }
    return texts;
  };

  test('the connections of others begin so', async () => {
    const { rows } = await one.query("select current_setting('transaction_isolation') as level");
    expect(rows).toEqual([{ level }]);
  });

  test('each function is known here', async () => {
    const { rows } = await one.query(
      "select distinct proname from pg_proc where pronamespace = 'lockkeeper'::regnamespace and prokind = 'f' order by 1",
    );
    const known = [...refuses, ...works].map(nameOf);
    expect(known.toSorted()).toEqual(rows.map(({ proname }) => proname));
  });

  test('what locks is refused, and changes nothing', async () => {
    const before = await everything();
    const answers: Record<string, unknown> = {};
    for (const call of refuses)
      answers[call] = await one.query(`select * from lockkeeper.${call}`).then(
        () => 'no error',
        ({ code, hint }) => [code, String(hint).includes('default_transaction_isolation')],
      );
    expect(answers).toEqual(Object.fromEntries(refuses.map((call) => [call, ['LK001', true]])));
    expect(await everything()).toEqual(before);
  });

  test('it is the level of the transaction that counts', async () => {
    for (const call of refuses.filter((each) => !each.startsWith('unset_override'))) {
      await one.query('begin isolation level read committed');
      await one.query(`select * from lockkeeper.${call}`);
      await one.query('rollback');
    }
  });

  test('what writes rows of its own works', async () => {
    for (const call of works) await one.query(`select * from lockkeeper.${call}`);
    await one.query('begin');
    for (const call of works) await one.query(`select * from lockkeeper.${call}`);
    await one.query('commit');
  });

  test('two who submit with one key make one run: the other is told to try again', async () => {
    const submit = `select run_id from lockkeeper.submit('[{"job": "free", "key": "k"}]')`;
    await one.query('begin');
    await one.query('select count(*) from lockkeeper_data.runs');
    const [made] = (await two.query(submit)).rows;
    await expect(one.query(submit)).rejects.toMatchObject({ code: '40001' });
    await one.query('rollback');
    expect((await one.query(submit)).rows).toEqual([made]);
  });

  test('a run is submitted in a transaction that began before its deployment ended: it goes on', async () => {
    await one.query('begin');
    await one.query('select count(*) from lockkeeper_data.runs');
    await database.execute("select lockkeeper.delete_deployment('pr-1', 'keep')", []);
    await one.query(`select lockkeeper.submit('[{"job": "free", "deployment": "pr-1"}]')`);
    await one.query('commit');
    const { rows } = await database.execute('call races.judge(true)', []);
    expect(rows[0]?.wrong).toEqual([]);
  });

  test('the product works: runs, tickets, submissions of pg-boss, commands', {
    timeout: 60_000,
  }, async () => {
    const product = await createLockkeeper({
      connectionString: database.connectionString,
      jobs: [count],
      log: keepingLog(),
    });
    const cli = cliOn(database.connectionString);
    try {
      await product.register();
      await product.applyConfig({ concurrency: { runs: { max_concurrent_runs: 20 } } });
      const working = await product.work();
      expect(await product.run(count)).toMatchObject({ state: 'succeeded' });
      await client.send(submitQueue, { job: 'count', tags: { from: 'boss' } });
      expect((await cli(['submit', 'count', '--tag', 'from=cli'])).code).toBe(0);
      const { rows } = await database.execute("select run_id from lockkeeper.runs where job = 'count'", []);
      for (const { run_id } of rows) await product.result(String(run_id));
      await working.stop();
    } finally {
      await product.close();
    }
    const { checks } = (await cli(['doctor', '--quick', '--json'])).json as { checks: { check: string }[] };
    expect(checks.filter(({ check }) => check === 'isolation')).toMatchObject([
      {
        status: 'warn',
        message: expect.stringContaining(level),
        hint: expect.stringContaining('alter role'),
      },
    ]);
  });
});
