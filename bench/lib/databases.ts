/** The databases of a bench: a new one for each measurement, as a copy of one that was migrated once. */

import { setTimeout as delay } from 'node:timers/promises';
import type pg from 'pg';
import type { BenchServer, NewDatabase, Template } from '../types.ts';

/** How long connections that are about to end may take to be gone. */
const endingMs = 3_000;
const lookEveryMs = 10;

/** Makes databases on the server of this client, and their templates when they are first asked for. */
export function databasesOf(url: string, client: pg.Client): BenchServer['database'] {
  let made = 0;
  const addressOf = (name: string) => {
    const address = new URL(url);
    address.pathname = `/${name}`;
    return address.href;
  };
  return async (purpose: string, template?: Template): Promise<NewDatabase> => {
    const source = template ? await templateOf(client, template, addressOf) : 'template1';
    made += 1;
    const name = named(`bench_${process.pid}_${made}_${purpose}`);
    await create(client, name, source);
    return { url: addressOf(name), drop: () => drop(client, name) };
  };
}

/** Drops what a process of the bench left, or all of them. */
export async function dropAll(client: pg.Client, pid?: number): Promise<void> {
  const { rows } = await client.query<{ name: string }>(
    'select datname as name from pg_database where starts_with(datname, $1)',
    [pid === undefined ? 'bench_' : `bench_${pid}_`],
  );
  for (const { name } of rows) await client.query(`drop database "${name}" with (force)`);
}

/** All figures share it: it is there already, or it is made now. */
async function templateOf(
  client: pg.Client,
  { name: of, migrate }: Template,
  addressOf: (name: string) => string,
): Promise<string> {
  const name = named(`bench_template_${of}`);
  const { rowCount } = await client.query('select from pg_database where datname = $1', [name]);
  if (rowCount === 1) return name;
  // Under another name until it is complete.
  const half = named(`bench_${process.pid}_half_${of}`);
  await create(client, half, 'template1');
  await migrate(addressOf(half));
  await deserted(client, half);
  await client.query(`alter database "${half}" rename to "${name}"`);
  return name;
}

async function create(client: pg.Client, name: string, source: string): Promise<void> {
  await client.query(`create database "${name}" template "${source}"`);
}

async function drop(client: pg.Client, name: string): Promise<void> {
  await deserted(client, name);
  await client.query(`drop database "${name}" with (force)`);
}

/** Waits until nobody is connected; a system that closes would take the end of its connection for an error. */
async function deserted(client: pg.Client, name: string): Promise<void> {
  for (let waited = 0; waited < endingMs; waited += lookEveryMs) {
    const { rowCount } = await client.query(
      "select from pg_stat_activity where datname = $1 and backend_type = 'client backend' limit 1",
      [name],
    );
    if (rowCount === 0) return;
    await delay(lookEveryMs);
  }
}

const named = (text: string) =>
  text
    .toLowerCase()
    .replace(/[^a-z0-9]+/g, '_')
    .slice(0, 63);
