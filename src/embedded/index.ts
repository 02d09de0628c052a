/**
 * A Postgres 18 without installation, for development and tests. One server per folder, shared by every process that
 * asks for it: the first starts it, in a session of its own so that no Ctrl-C reaches it, and the last stops it. Users
 * that died without a word are found by whoever comes or goes next. All of it happens under one lock file.
 */

import { mkdirSync, readdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { prepareHome } from './home.ts';
import { lives, processName, withLock } from './process.ts';
import { runningServer, startServer, stopServer } from './server.ts';

export type EmbeddedOptions = {
  /** Where the data lives; `.lockkeeper/postgres` under the working directory if left out. */
  folder?: string;
  /** Whether commits survive a crash of the machine; true if left out. Without it, broken data is thrown away. */
  durable?: boolean;
  maxConnections?: number;
  /** Gets lines for people; stderr if left out. */
  log?: (line: string) => void;
};

export type Embedded = {
  /** Of the database `postgres`, as its superuser. Holds the password: not for logs. */
  url: string;
  /** Where the data really is. */
  folder: string;
  /** Gives up this use; the last one stops the server. */
  close(): Promise<void>;
};

let uses = 0;

/** Starts the server, or joins the one that runs. */
export async function startEmbedded(options: EmbeddedOptions = {}): Promise<Embedded> {
  const log = options.log ?? ((line: string) => console.error(`lockkeeper: ${line}`));
  const home = await prepareHome(options.folder ?? '.lockkeeper/postgres', log);
  const users = `${home.folder}/users`;
  mkdirSync(users, { recursive: true });
  uses += 1;
  const use = `${users}/${process.pid}-${uses}`;
  const url = await withLock(`${home.folder}/lock`, async () => {
    const running = await runningServer(home);
    const server = running ?? (await startServer(home, options));
    writeFileSync(use, processName(process.pid) ?? '');
    return server;
  });
  const close = () =>
    withLock(`${home.folder}/lock`, async () => {
      rmSync(use, { force: true });
      if (!hasUsers(users)) await stopServer(home);
    });
  return { url, folder: home.folder, close };
}

/** Forgets users that died. */
function hasUsers(users: string): boolean {
  for (const name of readdirSync(users)) {
    if (!lives(readFileSync(`${users}/${name}`, 'utf8'))) rmSync(`${users}/${name}`, { force: true });
  }
  return readdirSync(users).length > 0;
}
