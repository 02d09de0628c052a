import { mkdir, mkdtemp, readFile, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import pg from 'pg';
import { afterAll, beforeAll, beforeEach, describe, expect, test } from 'vitest';
import { type Database, openDatabase } from '../src/database.ts';
import { SchemaError } from '../src/errors.ts';
import { createLockkeeper, job, migrateDatabase } from '../src/index.ts';
import { type MigrateOptions, migrate, schemaVersion } from '../src/migrate.ts';
import { queueSchema } from '../src/queue/boss.ts';
import { emptyDatabase } from './support/database.ts';
import { keepingLog } from './support/log.ts';

const database = await emptyDatabase();
const folder = await mkdtemp(join(tmpdir(), 'lockkeeper-migrate-'));
afterAll(() => rm(folder, { recursive: true }));

const write = async (name: string, text: string) => {
  await mkdir(join(folder, name, '..'), { recursive: true });
  await writeFile(join(folder, name), text);
};
const run = (options: MigrateOptions = {}, on: Database = database) => migrate(on, { folder, ...options });
const value = async (text: string) => Object.values((await database.execute(text, [])).rows[0] ?? {})[0];

beforeEach(async () => {
  await database.execute('drop schema if exists lockkeeper cascade', []);
  await database.execute('drop schema if exists lockkeeper_data cascade', []);
  await rm(folder, { recursive: true });
  await write(
    'tables/001_first.sql',
    'create table lockkeeper_data.first (n int); create index on lockkeeper_data.first (n);',
  );
  await write(
    'code/10_size.sql',
    'create function lockkeeper.size() returns bigint language sql as $$ select count(*) from lockkeeper_data.first $$;',
  );
  await write('code/70_views.sql', 'create view lockkeeper.sizes as select lockkeeper.size() as size;');
});

test('an empty database gets tables and code; the second time there is nothing to do', async () => {
  expect(await schemaVersion(database)).toBe(0);
  expect(await run({ dryRun: true })).toEqual({ from: 0, to: 1, changed: true, applied: ['001_first.sql'] });
  expect(await schemaVersion(database)).toBe(0);
  expect(await run()).toEqual({ from: 0, to: 1, changed: true, applied: ['001_first.sql'] });
  expect(await run()).toEqual({ from: 1, to: 1, changed: false, applied: [] });
  expect(await schemaVersion(database)).toBe(1);
  expect(await value('select size from lockkeeper.sizes')).toBe('0');
});

test('a new file of tables and changed code are brought, other code is gone', async () => {
  await run();
  await write('tables/002_second.sql', 'alter table lockkeeper_data.first alter n type bigint;');
  await rm(join(folder, 'code/70_views.sql'));
  await write(
    'code/10_size.sql',
    `create type lockkeeper.pair as (a int, b int);
    create function lockkeeper_data.inner() returns int language sql as $$ select 1 $$;
    create view lockkeeper.all_sizes as select n from lockkeeper_data.first;
    create function lockkeeper.size(one lockkeeper.all_sizes, pair lockkeeper.pair default null) returns setof lockkeeper.all_sizes language sql as $$ select one.* $$;
    create view lockkeeper.above as select s.n from lockkeeper.all_sizes a, lockkeeper.size(a) s;`,
  );
  expect(await run()).toEqual({ from: 1, to: 2, changed: true, applied: ['002_second.sql'] });
  expect(
    await value(
      "select string_agg(proname, ',') from pg_proc where pronamespace = 'lockkeeper'::regnamespace",
    ),
  ).toBe('size');
  await write('code/10_size.sql', '-- nothing');
  expect(await run()).toMatchObject({ from: 2, to: 2, changed: true, applied: [] });
  expect(await value("select count(*) from pg_class where relnamespace = 'lockkeeper'::regnamespace")).toBe(
    '0',
  );
});

test('fifty at once: one works', async () => {
  const others = await Promise.all(
    Array.from({ length: 50 }, async () => {
      const own = openDatabase({ connectionString: database.connectionString, max: 1 });
      const migrated = await run({}, own);
      await own.close();
      return migrated.changed;
    }),
  );
  expect(others.filter(Boolean)).toHaveLength(1);
  expect(await value('select count(*) from lockkeeper_data.migrations')).toBe('1');
});

test('a failure leaves everything as it was, and names file and line', async () => {
  await run();
  await write('tables/002_second.sql', 'create table lockkeeper_data.second ();');
  await write('code/80_broken.sql', 'select 1;\nselect nothing_of_the_kind;');
  await expect(run()).rejects.toThrow('80_broken.sql:2: column "nothing_of_the_kind" does not exist');
  expect(await schemaVersion(database)).toBe(1);
  expect(await value('select size from lockkeeper.sizes')).toBe('0');
});

test('older code refuses, by its files or by its release', async () => {
  await write('tables/002_second.sql', 'select 1;');
  await run();
  await rm(join(folder, 'tables/002_second.sql'));
  await expect(run()).rejects.toThrow(SchemaError);
  await expect(run()).rejects.toThrow(/schema version 2 .* knows versions up to 1/);
  await write('tables/002_second.sql', 'select 1;');
  await database.execute("update lockkeeper_data.schema_version set release = '0.10.0'", []);
  await expect(run()).rejects.toThrow(/release 0\.10\.0/);
});

test('a file that was applied must not change, and no number may be left out', async () => {
  await run();
  await write('tables/001_first.sql', 'create table lockkeeper_data.other ();');
  await expect(run()).rejects.toThrow(/001_first\.sql is not the file/);
  await write('tables/003_third.sql', 'select 1;');
  await expect(run()).rejects.toThrow(/003_third\.sql must have the number 2/);
});

test("a user's view on ours is never dropped: migrate fails and names it", async () => {
  await run();
  await database.execute('create view public.mine as select * from lockkeeper.sizes', []);
  await write('code/70_views.sql', 'create view lockkeeper.sizes as select 1 as size;');
  await expect(run()).rejects.toThrow(/replaced: view public\.mine depends on view lockkeeper\.sizes/);
  await database.execute('drop view public.mine', []);
  expect(await run()).toMatchObject({ changed: true });
});

test('what is not ours is never replaced: schemas that are not empty are refused before the first migration', async () => {
  await database.execute('create schema lockkeeper', []);
  await database.execute('create function lockkeeper.mine() returns int language sql return 1', []);
  for (const dryRun of [true, false]) {
    await expect(run({ dryRun })).rejects.toThrow(/must be empty .* lockkeeper\.mine is there/);
  }
  expect(await value('select lockkeeper.mine()')).toBe(1);
  await database.execute('drop function lockkeeper.mine()', []);
  expect(await run()).toMatchObject({ from: 0, changed: true });
});

describe('grants', () => {
  const aclOf = (kind: 'pro' | 'rel', name: string) =>
    value(
      `select array(select case grantee when 0 then 'public' else grantee::regrole::text end || ' ' || privilege_type ||
         case when is_grantable then ' *' else '' end from aclexplode(${kind}acl) where grantee <> ${kind}owner order by 1)
       from pg_${kind === 'pro' ? 'proc' : 'class'} where ${kind}name = '${name}'`,
    );
  const roles = ['reader', 'a "strange" one'].map((role) => `lockkeeper test ${process.pid} ${role}`);
  const [reader, strange] = roles.map((role) => pg.escapeIdentifier(role));
  beforeAll(async () => {
    await database.pool.query(`create role ${reader}; create role ${strange}`);
  });
  afterAll(async () => {
    await database.pool.query(`drop owned by ${reader}, ${strange}; drop role ${reader}, ${strange}`);
  });

  test('on functions and views survive a replacement of the code, revoked ones too', async () => {
    await run();
    await database.pool.query(`grant execute on function lockkeeper.size() to ${reader} with grant option;
      revoke execute on function lockkeeper.size() from public;
      grant select, trigger on lockkeeper.sizes to ${strange};
      grant select (size) on lockkeeper.sizes to ${reader}`);
    await write(
      'code/10_size.sql',
      'create function lockkeeper.size(above int default 0) returns bigint language sql as $$ select count(*) from lockkeeper_data.first $$;',
    );
    await write(
      'code/70_views.sql',
      'create view lockkeeper.sizes as select lockkeeper.size() as size, 1 as one; create view lockkeeper.more as select 1 as one;',
    );
    expect(await run()).toMatchObject({ changed: true });
    expect(await aclOf('pro', 'size')).toEqual([`${reader} EXECUTE *`]);
    expect(await aclOf('rel', 'sizes')).toEqual([`${strange} SELECT`, `${strange} TRIGGER`]);
    expect(await aclOf('rel', 'more')).toEqual([]);
    expect(
      await value(`select has_column_privilege('${roles[0]}', 'lockkeeper.sizes', 'size', 'select')`),
    ).toBe(true);
    expect(
      await value(`select has_column_privilege('${roles[0]}', 'lockkeeper.sizes', 'one', 'select')`),
    ).toBe(false);
  });

  test('what is gone, or has no such column any more, is no hindrance', async () => {
    await run();
    await database.pool.query(`grant execute on function lockkeeper.size() to ${reader};
      grant select (size) on lockkeeper.sizes to ${reader}`);
    await write('code/10_size.sql', '');
    await write('code/70_views.sql', 'create view lockkeeper.sizes as select 1 as one;');
    expect(await run()).toMatchObject({ changed: true });
    expect(await aclOf('rel', 'sizes')).toEqual([]);
  });

  test('where another role migrates, the one that did before keeps what it could do', async () => {
    await run();
    await database.pool.query(`alter view lockkeeper.sizes owner to ${reader};
      alter function lockkeeper.size() owner to ${reader}`);
    await write('code/80_more.sql', 'select 1;');
    expect(await run()).toMatchObject({ changed: true });
    expect(await value(`select has_table_privilege('${roles[0]}', 'lockkeeper.sizes', 'select')`)).toBe(true);
    expect(await aclOf('pro', 'size')).toEqual([`${reader} EXECUTE`, 'public EXECUTE'].toSorted());
  });
});

describe('another schema', () => {
  const other = openDatabase({ connectionString: database.connectionString, schema: 'other' });
  afterAll(() => other.close());
  beforeEach(() =>
    other.pool.query('drop schema if exists other cascade; drop schema if exists other_data cascade'),
  );

  test('is migrated by itself, and its errors name file and line', async () => {
    await run();
    expect(await run({}, other)).toEqual({ from: 0, to: 1, changed: true, applied: ['001_first.sql'] });
    expect(await run({}, other)).toMatchObject({ changed: false });
    await write('tables/002_second.sql', 'create table lockkeeper_data.second ();');
    expect(await run({}, other)).toMatchObject({ from: 1, to: 2 });
    expect([await schemaVersion(database), await schemaVersion(other)]).toEqual([1, 2]);
    expect(
      await value("select string_agg(oid::regclass::text, ',') from pg_class where relname = 'second'"),
    ).toBe('other_data.second');
    await write('code/80_broken.sql', 'select lockkeeper.size();\nselect nothing_of_the_kind;');
    await expect(run({}, other)).rejects.toThrow(
      '80_broken.sql:2: column "nothing_of_the_kind" does not exist',
    );
  });

  test("a user's view on it is never dropped", async () => {
    await run({}, other);
    await database.execute('create view public.mine as select * from other.sizes', []);
    await write('code/70_views.sql', 'create view lockkeeper.sizes as select 1 as size;');
    await expect(run({}, other)).rejects.toThrow(
      'The functions and views of schema "other" cannot be replaced: view public.mine depends on view other.sizes',
    );
    await database.execute('drop view public.mine', []);
  });
});

test('a process of an older release works on the newer schema, and only its migrate refuses', async () => {
  const { connectionString } = database;
  await migrateDatabase({ connectionString });
  await database.execute(
    "update lockkeeper_data.schema_version set tables = tables + 1, release = '999.0.0'",
    [],
  );
  await expect(migrateDatabase({ connectionString })).rejects.toThrow(SchemaError);
  const load = job('load', () => 'done');
  const lockkeeper = await createLockkeeper({ connectionString, jobs: [load], log: keepingLog() });
  const working = await lockkeeper.work();
  expect(await lockkeeper.run(load)).toMatchObject({ state: 'succeeded' });
  await working.stop();
  await lockkeeper.close();
});

test('other schemas come first, once for each version', async () => {
  const calls: string[] = [];
  const other = (version: string) => ({
    version,
    migrate: async () => {
      calls.push(`${version} at ${await schemaVersion(database)}`);
    },
  });
  await run({ alsoMigrate: [other('boss 1')] });
  await run({ alsoMigrate: [other('boss 1')] });
  await run({ alsoMigrate: [other('boss 2')] });
  expect(calls).toEqual(['boss 1 at 0', 'boss 2 at 1']);
});

test("the package's own SQL can be brought to an empty database, and its code be replaced", async () => {
  const options = { alsoMigrate: [queueSchema(database)] };
  expect(await migrate(database, options)).toMatchObject({ from: 0, changed: true });
  expect(await migrate(database, options)).toMatchObject({ changed: false });
  const again = { alsoMigrate: [{ ...queueSchema(database), version: 'another' }] };
  expect(await migrate(database, again)).toMatchObject({ changed: true, applied: [] });
  const { version } = JSON.parse(await readFile(new URL('../package.json', import.meta.url), 'utf8'));
  expect(await value('select release from lockkeeper_data.schema_version')).toBe(version);
});
