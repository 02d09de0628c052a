/** Making, starting and stopping the one server of a folder, with Postgres's own initdb and pg_ctl. */

import { execFile } from 'node:child_process';
import { randomBytes } from 'node:crypto';
import { chownSync, existsSync, mkdirSync, readFileSync, renameSync, rmSync, writeFileSync } from 'node:fs';
import { createServer } from 'node:net';
import { promisify } from 'node:util';
import { LockkeeperError } from '../errors.ts';
import type { Home } from './home.ts';
import { lives, processName } from './process.ts';

const execute = promisify(execFile);

export type ServerOptions = { durable?: boolean; maxConnections?: number };

/** The address of the server that runs in this folder. */
export async function runningServer(home: Home): Promise<string | undefined> {
  const file = `${home.folder}/data/postmaster.pid`;
  if (!existsSync(file)) return undefined;
  const [pid = '', , , port] = readFileSync(file, 'utf8').split('\n');
  const noted = existsSync(noteOf(home)) ? readFileSync(noteOf(home), 'utf8') : '';
  if (noted.startsWith(`${pid} `)) {
    if (lives(noted)) return address(home, Number(port));
    rmSync(file); // It crashed; Postgres would wait for whoever has its number now, say after a container's restart.
    return undefined;
  }
  // Whoever started it may have died before it made the note.
  return (await status(home)) ? address(home, Number(port)) : undefined;
}

/** Holds the name of the server's process. */
const noteOf = (home: Home) => `${home.folder}/server`;

/** Makes the data when there is none, and starts the server on a free port of loopback. */
export async function startServer(home: Home, options: ServerOptions): Promise<string> {
  const durable = options.durable ?? true;
  if (!existsSync(`${home.folder}/data`)) await makeData(home, durable);
  try {
    return await launch(home, options);
  } catch (error) {
    if (durable) throw error;
    rmSync(`${home.folder}/data`, { recursive: true, force: true });
    await makeData(home, durable);
    return launch(home, options);
  }
}

/** Ends every connection and waits until the server has stopped. */
export async function stopServer(home: Home): Promise<void> {
  if (await runningServer(home)) await pgCtl(home, ['stop', '-m', 'fast', '-w']);
}

async function status(home: Home): Promise<boolean> {
  try {
    await pgCtl(home, ['status']);
    return true;
  } catch (error) {
    if ((error as { code?: unknown }).code === 3) return false;
    throw error;
  }
}

/** initdb works aside, so that a half-made folder is never taken for a whole one. */
async function makeData(home: Home, durable: boolean): Promise<void> {
  const half = `${home.folder}/data.half`;
  const password = randomBytes(24).toString('base64url');
  writeFileSync(`${home.folder}/password`, password, { mode: 0o600 });
  rmSync(half, { recursive: true, force: true });
  mkdirSync(half, { mode: 0o700 });
  const forInitdb = `${half}.password`;
  writeFileSync(forInitdb, password, { mode: 0o600 });
  if (home.runAs) for (const path of [half, forInitdb]) chownSync(path, home.runAs.uid, home.runAs.gid);
  try {
    const locale = ['--encoding=UTF8', '--locale=C', '--locale-provider=builtin', '--builtin-locale=C.UTF-8'];
    const sync = durable ? [] : ['--no-sync'];
    const access = [
      '--username=postgres',
      `--pwfile=${forInitdb}`,
      '--auth=scram-sha-256',
      '--no-instructions',
    ];
    await execute(home.binaries.initdb, [`--pgdata=${half}`, ...access, ...locale, ...sync], context(home));
  } catch (error) {
    throw new LockkeeperError(`initdb failed in ${half}: ${(error as Error).message}`, { cause: error });
  } finally {
    rmSync(forInitdb, { force: true });
  }
  renameSync(half, `${home.folder}/data`);
}

/** The port is free when we look; where another takes it before Postgres does, the next one is tried. */
async function launch(home: Home, options: ServerOptions, tries = 3): Promise<string> {
  const port = await freePort();
  const log = `${home.folder}/server.log`;
  writeFileSync(log, '', { mode: 0o600 });
  if (home.runAs) chownSync(log, home.runAs.uid, home.runAs.gid);
  try {
    await pgCtl(home, ['start', '-w', '-t', '120', '-l', log, '-o', settings(port, options)]);
    const pid = Number.parseInt(readFileSync(`${home.folder}/data/postmaster.pid`, 'utf8'), 10);
    writeFileSync(noteOf(home), processName(pid) ?? '');
    return address(home, port);
  } catch (error) {
    const said = readFileSync(log, 'utf8');
    if (tries > 1 && said.includes('Address already in use')) return launch(home, options, tries - 1);
    throw new LockkeeperError(
      `The embedded Postgres in ${home.folder} does not start: ${said.trim().split('\n').slice(-5).join(' / ')}`,
      {
        hint: 'When its data is of no value, remove that folder.',
        cause: error,
      },
    );
  }
}

function settings(port: number, { durable = true, maxConnections = 100 }: ServerOptions): string {
  const list = {
    listen_addresses: '127.0.0.1',
    port,
    unix_socket_directories: '',
    max_connections: maxConnections,
    timezone: 'UTC',
    ...(durable ? {} : { fsync: 'off', synchronous_commit: 'off', full_page_writes: 'off' }),
  };
  return Object.entries(list)
    .map(([name, value]) => `-c ${name}='${value}'`)
    .join(' ');
}

async function freePort(): Promise<number> {
  const probe = createServer();
  await new Promise<void>((resolve, reject) => probe.once('error', reject).listen(0, '127.0.0.1', resolve));
  const at = probe.address();
  await new Promise((resolve) => probe.close(resolve));
  if (at === null || typeof at === 'string') throw new LockkeeperError('No port of loopback is free.');
  return at.port;
}

function address(home: Home, port: number): string {
  const password = readFileSync(`${home.folder}/password`, 'utf8');
  return `postgres://postgres:${password}@127.0.0.1:${port}/postgres`;
}

function pgCtl(home: Home, args: string[]): Promise<unknown> {
  return execute(home.binaries.pgCtl, [...args, '-D', `${home.folder}/data`], context(home));
}

/** Nothing of our environment: PGDATA, PGPORT and the like would be obeyed. */
function context(home: Home) {
  const { PATH = '/usr/bin:/bin', SYSTEMROOT } = process.env;
  return {
    cwd: home.folder,
    env: { PATH, LC_ALL: 'C', ...(SYSTEMROOT ? { SYSTEMROOT } : {}) },
    ...home.runAs,
  };
}
