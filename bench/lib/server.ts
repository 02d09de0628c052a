/** The one Postgres that all systems are measured on: an embedded one, or that of `BENCH_DATABASE_URL`. */

import { fileURLToPath } from 'node:url';
import pg from 'pg';
import { type Embedded, startEmbedded } from '../../src/embedded/index.ts';
import type { BenchServer } from '../types.ts';
import { databasesOf, dropAll } from './databases.ts';

/** The server as the bench itself sees it; figures get a `BenchServer`. */
export type MeasuredServer = BenchServer & {
  /** What matters of its settings, as the server itself tells them. */
  settings: Readonly<Record<string, string>>;
  /** Drops the databases that this process has left. */
  clear(pid: number): Promise<void>;
};

/** Of the embedded server; every system is measured with the same. All else is as Postgres comes. */
const wanted = { shared_buffers: '512MB', max_wal_size: '4GB', checkpoint_timeout: '15min' };
const maxConnections = 400;

const told = [
  'fsync',
  'synchronous_commit',
  'full_page_writes',
  'wal_sync_method',
  'shared_buffers',
  'max_wal_size',
  'checkpoint_timeout',
  'max_connections',
  'autovacuum',
  'jit',
];

/** Held while a bench uses the server: two at once would measure each other. */
const oneBench = 5_505_019;

/** Runs `use` with the server, and stops it afterwards if it was started here. */
export async function withServer<T>(use: (server: MeasuredServer) => Promise<T>): Promise<T> {
  const url = process.env.BENCH_DATABASE_URL;
  if (url) return withoutRest(url, use);
  const embedded = await started();
  try {
    return await withoutRest(embedded.url, use);
  } finally {
    await embedded.close();
  }
}

/** The same server as a process sees it that measures one figure. */
export async function withServerAt<T>(url: string, use: (server: MeasuredServer) => Promise<T>): Promise<T> {
  return withClient(url, async (client) => use(await measured(url, client)));
}

/** Nothing is there of a bench that was killed, and nothing is left afterwards. */
async function withoutRest<T>(url: string, use: (server: MeasuredServer) => Promise<T>): Promise<T> {
  return withClient(url, async (client) => {
    await alone(client);
    await dropAll(client);
    try {
      return await use(await measured(url, client));
    } finally {
      await dropAll(client);
    }
  });
}

/** One connection for as long as `use` takes. */
export async function withClient<T>(url: string, use: (client: pg.Client) => Promise<T>): Promise<T> {
  const client = new pg.Client({ connectionString: url, application_name: 'bench' });
  // What ends a connection is told by the next query on it; without a listener it would end the process.
  client.on('error', () => {});
  await client.connect();
  try {
    return await use(client);
  } finally {
    await client.end();
  }
}

/** A durable server in a folder of its own. Some settings need a restart, once: they stay with the data. */
async function started(): Promise<Embedded> {
  const folder = fileURLToPath(new URL('../../.lockkeeper/postgres-bench', import.meta.url));
  const start = () => startEmbedded({ folder, durable: true, maxConnections });
  const first = await start();
  const right = await withClient(first.url, async (client) => {
    const seen = await settingsOf(client);
    const wrong = Object.entries(wanted).filter(([name, value]) => seen[name] !== value);
    for (const [name, value] of wrong) await client.query(`alter system set ${name} = '${value}'`);
    return wrong.length === 0;
  });
  if (right) return first;
  await first.close();
  return start();
}

async function alone(client: pg.Client): Promise<void> {
  const { rows } = await client.query<{ mine: boolean }>('select pg_try_advisory_lock($1) as mine', [
    oneBench,
  ]);
  if (rows[0]?.mine !== true)
    throw new Error('Another bench is running on this server; wait until it has ended.');
}

/** @throws when a commit would not wait for the disk: then no figure means anything. */
async function measured(url: string, client: pg.Client): Promise<MeasuredServer> {
  const settings = await settingsOf(client);
  for (const name of ['fsync', 'synchronous_commit']) {
    if (settings[name] !== 'on') {
      throw new Error(`${name} is ${settings[name]} on this server; the bench measures only where it is on.`);
    }
  }
  return {
    url,
    version: settings.server_version ?? '',
    settings,
    database: databasesOf(url, client),
    clear: (pid) => dropAll(client, pid),
  };
}

async function settingsOf(client: pg.Client): Promise<Record<string, string>> {
  const { rows } = await client.query<{ name: string; setting: string }>(
    'select name, current_setting(name) as setting from unnest($1::text[]) as name',
    [['server_version', ...told]],
  );
  return Object.fromEntries(rows.map(({ name, setting }) => [name, setting]));
}
