/** One migrated template database for a run of tests or of a tool, and clones of it. */

import { randomBytes } from 'node:crypto';
import { openDatabase } from '../../src/database.ts';
import { migrate } from '../../src/migrate.ts';
import { queueSchema } from '../../src/queue/boss.ts';
import type { Server } from './server.ts';

/** Plain data, so that it can be handed from vitest's main process to its workers. */
export type Template = { url: string; prefix: string; name: string };

export type Clone = { url: string; drop(): Promise<void> };

/** Creates the template; also removes what runs that crashed more than a day ago left on this server. */
export async function createTemplate(server: Pick<Server, 'url'>): Promise<Template> {
  await removeStale(server.url);
  const [{ seconds } = {}] = await onServer(
    server.url,
    'select extract(epoch from now())::bigint as seconds',
  );
  const prefix = `lockkeeper_test_${seconds}_${randomBytes(4).toString('hex')}`;
  const name = `${prefix}_template`;
  const template = { url: server.url, prefix, name };
  await onServer(server.url, `create database ${name}`);
  const database = openDatabase({ connectionString: urlOf(server.url, name), max: 2 });
  try {
    await migrate(database, { alsoMigrate: [queueSchema(database)] });
  } catch (error) {
    await database.close();
    await dropTemplate(template);
    throw error;
  }
  await database.close();
  return template;
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

async function removeStale(url: string): Promise<void> {
  const stale = await onServer(
    url,
    `select datname from pg_database
     where datname ~ '^lockkeeper_test_[0-9]+_' and pg_has_role(datdba, 'member')
       and split_part(datname, '_', 3)::bigint < extract(epoch from now()) - 86400`,
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
