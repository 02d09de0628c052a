import { describe, expect, test } from 'vitest';
import { compareCatalogs, readCatalog, underSchema } from '../src/cli/doctor/catalog.ts';
import { type Session, sharesServers } from '../src/cli/doctor/pooler.ts';
import { checkSnapshots } from '../src/cli/doctor/server.ts';
import { cliOn } from './support/cli.ts';
import { emptyDatabase } from './support/database.ts';

type Check = { check: string; status: string; message: string; hint: string | null };

const empty = await emptyDatabase();
const sound = await emptyDatabase();
const tested = await emptyDatabase();
await cliOn(sound.connectionString)(['migrate']);

async function doctor(url: string, env = {}) {
  const { code, json } = await cliOn(url, env)(['doctor', '--json']);
  const checks = json.checks as Check[];
  const of = (name: string) => checks.filter(({ check }) => check === name);
  return { code, ok: json.ok, checks, of, failed: checks.filter(({ status }) => status === 'fail') };
}

describe('a sound database', () => {
  test('passes, and its one warning is that no worker lives', async () => {
    const { code, ok, checks, failed } = await doctor(sound.connectionString);
    expect({ code, ok, failed }).toEqual({ code: 0, ok: true, failed: [] });
    expect(checks.map(({ check }) => check)).toEqual(
      'connection postgres isolation clock pooler connections settings snapshots pg-boss schema drift violations passed-over coordinator workers'.split(
        ' ',
      ),
    );
    // The server may be shared with others, who hold connections and snapshots, and that of the tests need not survive.
    const own = checks.filter(({ check }) => !['connections', 'settings', 'snapshots'].includes(check));
    expect(own.filter(({ status }) => status === 'warn').map(({ check }) => check)).toEqual(['workers']);
    expect(checks.find(({ check }) => check === 'connection')?.message).toContain('(DATABASE_URL)');
  });

  test('--quick leaves out what takes long', async () => {
    const { json } = await cliOn(sound.connectionString)(['doctor', '--quick', '--json']);
    const names = (json.checks as Check[]).map(({ check }) => check);
    expect(names).not.toContain('drift');
    expect(names).not.toContain('violations');
    expect(names).not.toContain('passed-over');
    expect(names).toContain('workers');
  });

  test('is left as it was: no schema, no lock, no setting', async () => {
    const look = () =>
      sound.execute(
        `select (select count(*) from pg_namespace) as schemas, (select count(*) from pg_class) as relations,
           (select count(*) from pg_locks where locktype = 'advisory' and database =
             (select oid from pg_database where datname = current_database())) as locks`,
        [],
      );
    const before = (await look()).rows;
    await doctor(sound.connectionString);
    expect((await look()).rows).toEqual(before);
  });

  test('is told to people a line each, with what to do below', async () => {
    const { out, code } = await cliOn(sound.connectionString)(['doctor']);
    expect(code).toBe(0);
    expect(out).toMatch(/^ok {4}connection {3}database \S+ as \S+ \(DATABASE_URL\)\nok {4}postgres/);
    expect(out).toMatch(
      /warn {2}workers +no worker lives: no step starts\n +→ Start one with `lockkeeper worker`\./,
    );
    expect(out).toMatch(/\n\n\d+ ok, [1-4] to look at, 0 failed$/);
  });
});

describe('a database that is not of this release', () => {
  test('empty: migrate', async () => {
    const { code, failed } = await doctor(empty.connectionString);
    expect(code).toBe(1);
    expect(failed).toMatchObject([
      { check: 'pg-boss', hint: expect.stringContaining('lockkeeper migrate') },
      {
        check: 'schema',
        message: 'there is no Lockkeeper in schema lockkeeper',
        hint: 'Run `lockkeeper migrate`.',
      },
    ]);
  });

  test("somebody else's: named", async () => {
    await empty.execute('create schema lockkeeper_data', []);
    await empty.execute('create table lockkeeper_data.theirs ()', []);
    const { of } = await doctor(empty.connectionString);
    expect(of('schema')).toMatchObject([
      { status: 'fail', message: expect.stringMatching(/lockkeeper_data\._?theirs is there/) },
    ]);
    await empty.execute('drop schema lockkeeper_data cascade', []);
  });

  test('old functions, an old and a newer release', async () => {
    const set = (text: string) => sound.execute(`update lockkeeper_data.schema_version set ${text}`, []);
    const { rows } = await sound.execute('select release, code_hash from lockkeeper_data.schema_version', []);
    await set("code_hash = 'old'");
    expect((await doctor(sound.connectionString)).of('schema')).toMatchObject([
      { status: 'fail', hint: 'Run `lockkeeper migrate`.' },
    ]);
    await set("release = '999.0.0'");
    const { of, checks } = await doctor(sound.connectionString);
    expect(of('schema')).toMatchObject([{ status: 'fail', hint: expect.stringContaining('newer release') }]);
    expect(checks.at(-1)?.check).toBe('schema');
    await set(`release = '${rows[0]?.release}', code_hash = '${rows[0]?.code_hash}'`);
  });

  test('unreachable: nothing else is looked at', async () => {
    const { code, checks } = await doctor('postgres://me:secret@127.0.0.1:1/none');
    expect(code).toBe(1);
    expect(checks).toMatchObject([{ check: 'connection', status: 'fail' }]);
    expect(JSON.stringify(checks)).not.toContain('secret');
  });

  test('a pg-boss of another version', async () => {
    const { rows } = await sound.execute('select version from pgboss.version', []);
    await sound.execute('update pgboss.version set version = 3', []);
    expect((await doctor(sound.connectionString)).of('pg-boss')).toMatchObject([
      { status: 'fail', hint: expect.stringContaining('--upgrade-pg-boss') },
    ]);
    await sound.execute('update pgboss.version set version = $1', [rows[0]?.version]);
  });
});

describe('drift', () => {
  test('what was changed by hand is named, and migrate --again puts functions and views back', async () => {
    const by = (text: string) => sound.execute(text, []);
    await by('drop view lockkeeper.states');
    await by(
      "create or replace function lockkeeper.now() returns timestamptz language sql return '-infinity'::timestamptz",
    );
    await by('create view lockkeeper.mine as select 1 as one');
    await by('drop index lockkeeper_data.keys_run');
    await by('alter table lockkeeper_data.runs alter key set default $$x$$');
    const { code, of } = await doctor(sound.connectionString);
    expect(code).toBe(1);
    const [wrong, extra] = of('drift') as [Check, Check];
    expect(wrong).toMatchObject({ status: 'fail', hint: expect.stringContaining('migrate --again') });
    for (const part of [
      'view lockkeeper.states is missing',
      'index lockkeeper_data.keys_run is missing',
      'function lockkeeper.now is another',
      'column lockkeeper_data.runs.key is another',
    ])
      expect(wrong.message).toContain(part);
    expect(extra).toMatchObject({ status: 'warn', message: 'not of this release: view lockkeeper.mine' });
    await by('alter table lockkeeper_data.runs alter key drop default');
    await by('create index keys_run on lockkeeper_data.keys (run_id) where run_id is not null');
    const again = await cliOn(sound.connectionString)(['migrate', '--again']);
    expect(again.code).toBe(0);
    expect((await doctor(sound.connectionString)).of('drift')).toMatchObject([{ status: 'ok' }]);
  });

  test('a Lockkeeper under another schema is compared as well', async () => {
    const env = { LOCKKEEPER_SCHEMA: 'second' };
    await cliOn(sound.connectionString, env)(['migrate']);
    const { failed, of } = await doctor(sound.connectionString, env);
    expect(failed).toEqual([]);
    expect(of('drift')).toMatchObject([{ status: 'ok' }]);
  });

  test('catalogs are compared by name and definition', async () => {
    const query = (text: string, values: unknown[] = []) => sound.execute(text, values);
    const found = await readCatalog(query, 'lockkeeper');
    expect(found.size).toBeGreaterThan(200);
    expect(compareCatalogs(found, underSchema(found, 'lockkeeper', 'lockkeeper'))).toEqual({
      missing: [],
      changed: [],
      extra: [],
    });
  });
});

describe('what goes on', () => {
  test('a stopped clock, and a worker that died', async () => {
    const cli = cliOn(tested.connectionString);
    await cli(['migrate']);
    await tested.execute('select lockkeeper.stop_clock(now() - interval $$1 day$$)', []);
    await tested.execute(`select lockkeeper.open_lease('w1', 1, '[]', 1000)`, []);
    await tested.execute(
      `select lockkeeper.register('{"job": "ping", "version": "1", "steps": [{"name": "run"}]}')`,
      [],
    );
    await tested.execute(`select lockkeeper.submit('[{"job": "ping"}, {"job": "ping"}]')`, []);
    await tested.execute('select lockkeeper.advance_clock(90)', []);
    const { of, code } = await doctor(tested.connectionString);
    expect(code).toBe(0);
    expect(of('clock')).toMatchObject([
      { status: 'ok' },
      { status: 'warn', message: expect.stringContaining('test database') },
    ]);
    expect(of('coordinator')).toMatchObject([
      {
        status: 'warn',
        message: expect.stringContaining('2 submitted runs have not been looked at, the first for 1m 30s'),
      },
    ]);
    expect(of('leases')).toMatchObject([
      {
        status: 'warn',
        message:
          '1 worker has died and not been cleared away, the first 1m 29s ago; they hold 0 running steps',
      },
    ]);
  });

  test('violations fail', async () => {
    await tested.execute('insert into lockkeeper_data.slots values (77, 0, 77, 1)', []);
    const { of, code } = await doctor(tested.connectionString);
    expect(code).toBe(1);
    expect(of('violations')).toMatchObject([
      { status: 'fail', message: expect.stringContaining('slot without counter: run 77 place 0 key 77') },
    ]);
  });

  test('an isolation level of the role that the functions refuse', async () => {
    const { rows } = await tested.execute('select current_database() as name', []);
    await tested.execute(
      `alter database ${rows[0]?.name} set default_transaction_isolation = 'serializable'`,
      [],
    );
    expect((await doctor(tested.connectionString)).of('isolation')).toMatchObject([
      { status: 'warn', message: expect.stringContaining('serializable') },
    ]);
  });
});

describe('old snapshots', () => {
  const holder = (what: string, age: number, msAgo: number | null) => ({
    what,
    age,
    since: msAgo === null ? null : new Date(1_800_000_000_000 - msAgo),
    now: new Date(1_800_000_000_000),
  });
  const look = (...holders: object[]) => {
    const execute = async (text: string) => ({
      rows: text.includes('pg_has_role') ? [{ sees: true }] : holders,
    });
    return checkSnapshots({ database: { execute } as never, pgBossSchema: 'pgboss', source: '' });
  };

  test('are named: who, for how long, how far behind', async () => {
    const found = await look(
      holder('replication slot standby, which nobody uses', 5_000_000, null),
      holder('process 42 (psql, user ana), idle in transaction', 900, 3_700_000),
      holder('process 43 (report, user ana), active', 12, 4_000),
    );
    expect(found).toMatchObject({
      status: 'warn',
      message:
        'old snapshots keep dead rows in every table: replication slot standby, which nobody uses, 5000000 transactions behind; ' +
        'process 42 (psql, user ana), idle in transaction, for 1h 1m, 900 transactions behind',
    });
  });

  test('that are young are none', async () => {
    expect(await look(holder('process 43 (report, user ana), active', 12, 4_000))).toMatchObject({
      status: 'ok',
      message: expect.stringContaining('the oldest is process 43 (report, user ana), active, for 4s'),
    });
    expect(await look()).toMatchObject({ status: 'ok' });
  });

  test('a real transaction is seen, with its application', async () => {
    const client = await sound.pool.connect();
    await client.query(
      "set application_name = 'holds a snapshot'; begin isolation level repeatable read; select 1",
    );
    const { of } = await doctor(sound.connectionString);
    await client.query('rollback; reset application_name');
    client.release();
    expect(of('snapshots')).toMatchObject([
      { status: 'ok', message: expect.stringMatching(/the oldest is process \d+ /) },
    ]);
  });
});

describe('a pooler in transaction mode', () => {
  /** Gives out server processes the way a pooler does: `next` says which one serves a statement. */
  const session = (next: () => number): Session => ({
    query: async (text) => ({ rows: text.includes('pid') ? [{ pid: next() }] : [] }),
  });

  test('is told by the server processes that serve two connections', async () => {
    expect(
      await sharesServers(
        session(() => 1),
        session(() => 2),
      ),
    ).toBe(false);
    // One server connection for both, or another one for the first while the second holds its own.
    expect(
      await sharesServers(
        session(() => 1),
        session(() => 1),
      ),
    ).toBe(true);
    const [a, b] = [[1, 3], [2]];
    expect(
      await sharesServers(
        session(() => a.shift() ?? 0),
        session(() => b.shift() ?? 0),
      ),
    ).toBe(true);
  });
});
