/**
 * Migrated template databases, and clones of them: a migration takes a second, a clone a tenth of it. Everything here
 * is named `lockkeeper_test_…` with the time of its making; what crashed processes left is removed after a day.
 */

import { createHash, randomBytes } from 'node:crypto';
import { readdir, readFile } from 'node:fs/promises';
import { openDatabase, transaction } from '../database.ts';
import { migrate, sqlFolder } from '../migrate.ts';
import { defaultSchema, lockNumber } from '../naming.ts';
import { bossSchemaVersion, queueSchema } from '../queue/boss.ts';

/** Plain data, so that it can be handed from one process to another. */
export type Template = { url: string; prefix: string; name: string };

export type Clone = { url: string; drop(): Promise<void> };

/** Held while the shared template is looked for and made. */
const templateLock = lockNumber(defaultSchema, 4_100);

/** A template of its own, until `dropTemplate`. */
export async function createTemplate(server: { url: string }): Promise<Template> {
  await removeStale(server.url);
  const prefix = await newPrefix(server.url, randomBytes(4).toString('hex'));
  const template = { url: server.url, prefix, name: `${prefix}_template` };
  await makeTemplate(template);
  return template;
}

/**
 * The template that everybody shares who comes to this server as the same user and with the same SQL; made by the
 * first, and again after some hours. (Of another user's template Postgres lets nobody make a copy.)
 */
export async function sharedTemplate(url: string): Promise<Template> {
  const database = openDatabase({ connectionString: url, max: 1 });
  try {
    return await transaction(database, async (query) => {
      await query(`select pg_advisory_xact_lock(${templateLock})`);
      const user = await query('select current_user as name');
      const hash = await hashOfSql(String(user.rows[0]?.name));
      const { rows } = await query(
        `select datname from pg_database where datname ~ $1
         and split_part(datname, '_', 3) > to_char(now() at time zone 'utc' - interval '20 hours', 'YYYYMMDDHH24MI')`,
        [`^lockkeeper_test_[0-9]{12}_${hash}_template$`],
      );
      const prefix = await newPrefix(url, hash);
      if (rows[0]) return { url, prefix, name: String(rows[0].datname) };
      await removeStale(url);
      const [half, name] = [`${prefix}_half`, `${prefix}_template`];
      await makeTemplate({ url, prefix, name: half });
      await onServer(url, `alter database ${half} rename to ${name}`);
      return { url, prefix, name };
    });
  } finally {
    await database.close();
  }
}

/** A database of its own, migrated (`empty`: nothing in it), until `drop`. */
export async function cloneTemplate(template: Template, empty = false): Promise<Clone> {
  const name = `${template.prefix}_${randomBytes(6).toString('hex')}`;
  await onServer(template.url, `create database ${name} template ${empty ? 'template0' : template.name}`);
  const drop = () => dropDatabase(template.url, name);
  return { url: urlOf(template.url, name), drop };
}

/** Drops the template and every clone that is left. */
export async function dropTemplate({ url, prefix }: Template): Promise<void> {
  const left = await onServer(url, 'select datname from pg_database where starts_with(datname, $1)', [
    prefix,
  ]);
  for (const { datname } of left) await dropDatabase(url, String(datname));
}

async function makeTemplate(template: Template): Promise<void> {
  await onServer(template.url, `create database ${template.name}`);
  const database = openDatabase({ connectionString: urlOf(template.url, template.name), max: 2 });
  try {
    await migrate(database, { alsoMigrate: [queueSchema(database)] });
  } catch (error) {
    await database.close();
    await dropDatabase(template.url, template.name);
    throw error;
  }
  await database.close();
}

async function newPrefix(url: string, name: string): Promise<string> {
  const [row] = await onServer(url, "select to_char(now() at time zone 'utc', 'YYYYMMDDHH24MI') as minute");
  return `lockkeeper_test_${row?.minute}_${name}`;
}

/** Of all that a migration puts into a database, and of whom it belongs to. */
async function hashOfSql(user: string): Promise<string> {
  const hash = createHash('sha256').update(`${user} pg-boss ${bossSchemaVersion}`);
  const names = await readdir(sqlFolder, { recursive: true });
  for (const name of names.filter((each) => each.endsWith('.sql')).toSorted())
    hash.update(name).update(await readFile(`${sqlFolder}/${name}`));
  return hash.digest('hex').slice(0, 16);
}

async function removeStale(url: string): Promise<void> {
  const stale = await onServer(
    url,
    `select datname from pg_database
     where datname ~ '^lockkeeper_test_[0-9]{12}_' and pg_has_role(datdba, 'member')
       and split_part(datname, '_', 3) < to_char(now() at time zone 'utc' - interval '1 day', 'YYYYMMDDHH24MI')`,
  );
  for (const { datname } of stale) await dropDatabase(url, String(datname));
}

async function dropDatabase(url: string, name: string): Promise<void> {
  await onServer(url, `drop database if exists "${name}" with (force)`);
}

async function onServer(
  url: string,
  text: string,
  values: unknown[] = [],
): Promise<Record<string, unknown>[]> {
  const server = openDatabase({ connectionString: url, max: 1 });
  try {
    return (await server.execute(text, values)).rows;
  } finally {
    await server.close();
  }
}

function urlOf(server: string, database: string): string {
  const url = new URL(server);
  url.pathname = `/${database}`;
  return url.href;
}
