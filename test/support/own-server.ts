/** A Postgres server of the test's own, to be stopped, started again and promoted. Its data is of no value. */

import { execFileSync } from 'node:child_process';
import { appendFileSync, chmodSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { type Database, openDatabase } from '../../src/database.ts';
import { startEmbedded } from '../../src/embedded/index.ts';
import { openQueue } from '../../src/queue/boss.ts';
import { Stage } from './stage.ts';
import { cloneTemplate, createTemplate } from './template.ts';

export type OwnServer = { url: string; folder: string; close(): Promise<void> };

/** A folder that every user can enter, for servers of one test file. */
export function serverFolder(): string {
  const parent = mkdtempSync(join(tmpdir(), 'lockkeeper-server-'));
  chmodSync(parent, 0o755);
  return parent;
}

export function startServer(folder: string): Promise<OwnServer> {
  return startEmbedded({ folder, durable: false, log: () => undefined });
}

export function removeServer({ folder }: { folder: string }): void {
  rmSync(folder, { recursive: true, force: true });
}

/** A migrated database on the server, by name. */
export async function makeDatabase(server: OwnServer): Promise<string> {
  const clone = await cloneTemplate(await createTemplate(server));
  return new URL(clone.url).pathname;
}

/** The stage in a database of the server, and what closes its connections. */
export async function stageOn(
  server: OwnServer,
  name: string,
): Promise<{ stage: Stage; database: Database; leave: () => Promise<void> }> {
  const url = new URL(server.url);
  url.pathname = name;
  const database = openDatabase({
    connectionString: url.href,
    applicationName: 'lockkeeper test',
    onError: () => undefined, // The server is stopped under it.
  });
  const queue = await openQueue(database);
  const leave = async () => {
    await queue.close();
    await database.close();
  };
  return { stage: new Stage(database, queue), database, leave };
}

/** Puts the data of a server in place of another's; both are stopped. */
export function copyServer(from: OwnServer, to: OwnServer): void {
  rmSync(`${to.folder}/data`, { recursive: true });
  execFileSync('cp', ['-a', `${from.folder}/data`, `${from.folder}/password`, to.folder]);
}

/** From its next start on, such a copy is a streaming standby of the server at `primaryUrl`. */
export function beStandby({ folder }: OwnServer, primaryUrl: string): void {
  const { hostname, port, username, password } = new URL(primaryUrl);
  const conninfo = `host=${hostname} port=${port} user=${username} password=${password}`;
  appendFileSync(`${folder}/data/postgresql.auto.conf`, `primary_conninfo = '${conninfo}'\n`);
  writeFileSync(`${folder}/data/standby.signal`, '');
}
