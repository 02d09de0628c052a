/** docs/production.md, "Roles": the statements of the page, with the roles of the page, on a database of their own. */

import { cp, mkdtemp, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, beforeAll, expect, test } from 'vitest';
import { type Database, openDatabase } from '../../src/database.ts';
import { job } from '../../src/jobs.ts';
import { createLockkeeper } from '../../src/lockkeeper.ts';
import { migrateDatabase } from '../../src/migrate/database.ts';
import { migrate, sqlFolder } from '../../src/migrate.ts';
import { queueSchema } from '../../src/queue/boss.ts';
import { emptyDatabase } from '../support/database.ts';
import { keepingLog } from '../support/log.ts';
import { blockNamed } from './blocks.ts';

const page = 'docs/production.md';
const administrator = await emptyDatabase();
const name = new URL(administrator.connectionString).pathname.slice(1);
const roles = ['owner', 'app', 'viewer'] as const;
const roleOf = (role: (typeof roles)[number]) => `${name.slice(0, 50)}_${role}`;

/** Roles are of the whole server, so each run has its own. */
const asHere = (text: string) =>
  text
    .replace(/\blockkeeper_(owner|app|viewer)\b/g, (_, role) => roleOf(role))
    .replace(/\bdatabase app\b/g, `database ${name}`)
    .replaceAll("'…'", "'secret'");

function urlOf(role: (typeof roles)[number]): string {
  const url = new URL(administrator.connectionString);
  url.username = roleOf(role);
  url.password = 'secret';
  return url.href;
}

const { rows } = await administrator.execute(
  'select rolsuper as yes from pg_roles where rolname = current_user',
  [],
);
const mayCreateRoles = rows[0]?.yes === true;
const databases: Database[] = [];
const as = (role: (typeof roles)[number]) => {
  const database = openDatabase({ connectionString: urlOf(role), max: 2 });
  databases.push(database);
  return database;
};

beforeAll(async () => {
  if (!mayCreateRoles) return;
  await administrator.pool.query(asHere(blockNamed(page, 'roles')));
  await migrateDatabase({ connectionString: urlOf('owner') });
  await as('owner').pool.query(asHere(blockNamed(page, 'grants')));
});

afterAll(async () => {
  for (const database of databases) await database.close();
  for (const role of mayCreateRoles ? roles : []) {
    await administrator.pool.query(`drop owned by ${roleOf(role)} cascade; drop role ${roleOf(role)}`);
  }
});

/** What a program, a worker and a coordinator do, all as the application's role. */
async function runAsApplication(): Promise<unknown> {
  const log = keepingLog();
  const load = job('load', { pool: 'warehouse' }, async () => 'loaded');
  const lockkeeper = await createLockkeeper({ connectionString: urlOf('app'), jobs: [load], log });
  try {
    await lockkeeper.applyConfig({ concurrency: { pools: { default_limit: 1 } } });
    await lockkeeper.work();
    const { outputs } = await lockkeeper.run(load);
    expect(log.lines.filter(({ level }) => level === 'error' || level === 'warn')).toEqual([]);
    return outputs.run;
  } finally {
    await lockkeeper.close();
  }
}

test.skipIf(!mayCreateRoles)('the owner is no superuser, and migrates', async () => {
  const { rows } = await as('owner').execute(
    'select rolsuper, rolcreatedb, rolcreaterole from pg_roles where rolname = current_user',
    [],
  );
  expect(rows).toEqual([{ rolsuper: false, rolcreatedb: false, rolcreaterole: false }]);
});

test.skipIf(!mayCreateRoles)('the application works, and cannot change the schema', async () => {
  expect(await runAsApplication()).toBe('loaded');
  const application = as('app');
  await expect(application.execute('drop view lockkeeper.runs', [])).rejects.toThrow('must be owner');
  await expect(application.execute('create table lockkeeper.mine ()', [])).rejects.toThrow(
    'permission denied',
  );
});

test.skipIf(!mayCreateRoles)('grants survive a migration, and cover what it adds', async () => {
  const folder = await mkdtemp(join(tmpdir(), 'lockkeeper-roles-'));
  try {
    await cp(sqlFolder, folder, { recursive: true });
    await writeFile(
      join(folder, 'code/99_next.sql'),
      `create view lockkeeper.next as select count(*) as runs from lockkeeper_data.runs;
       create function lockkeeper.next_runs() returns bigint language sql set search_path = pg_catalog, pg_temp
       return (select count(*) from lockkeeper_data.runs);`,
    );
    const owner = as('owner');
    const migrated = await migrate(owner, { folder, alsoMigrate: [queueSchema(owner)] });
    expect(migrated.changed).toBe(true);
    expect(await runAsApplication()).toBe('loaded');
    for (const role of ['app', 'viewer'] as const) {
      const { rows } = await as(role).execute(
        'select runs, lockkeeper.next_runs() as same from lockkeeper.next',
        [],
      );
      expect(rows[0]?.runs).toBe(rows[0]?.same);
    }
  } finally {
    await rm(folder, { recursive: true, force: true });
  }
});

test.skipIf(!mayCreateRoles)('the history is kept by the role of the application', async () => {
  await administrator.execute("update lockkeeper_data.runs set ended_at = now() - interval '40 days'", []);
  const application = as('app');
  const { rows } = await application.execute('select archived from lockkeeper.archive(10)', []);
  expect(Number(rows[0]?.archived)).toBeGreaterThan(0);
  expect(
    (await application.execute(`select from lockkeeper.runs where ended_at is not null`, [])).rows.length,
  ).toBeGreaterThan(0);
  const { rows: dropped } = await application.execute(
    'select cardinality(dropped) as days from lockkeeper.drop_history()',
    [],
  );
  expect(Number(dropped[0]?.days)).toBeGreaterThan(0);
});

test.skipIf(!mayCreateRoles)('a viewer reads all views, and writes nothing', async () => {
  const viewer = as('viewer');
  const { rows } = await viewer.execute(
    `select c.relname as name from pg_class c where c.relnamespace = 'lockkeeper'::regnamespace and c.relkind = 'v'`,
    [],
  );
  for (const { name } of rows) await viewer.execute(`select * from lockkeeper.${name}`, []);
  await viewer.execute('select * from lockkeeper.why(1)', []);
  await expect(viewer.execute(`select lockkeeper.submit('{ "job": "load" }')`, [])).rejects.toThrow(
    'permission denied',
  );
  await expect(viewer.execute('select lockkeeper.archive(1)', [])).rejects.toThrow('permission denied');
  await expect(viewer.execute('select lockkeeper.drop_history()', [])).rejects.toThrow('permission denied');
  await expect(viewer.execute('select lockkeeper.apply_limits($1)', ['[]'])).rejects.toThrow(
    'permission denied',
  );
});
