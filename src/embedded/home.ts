/**
 * Where an embedded Postgres lives, and as whom it runs. Postgres refuses to run as root, so root lends it the user
 * `postgres`; where that user cannot reach the folder (as in root's home directory, which is closed to others),
 * programs and data go to a private folder under the system's temporary one.
 */

import { execFile } from 'node:child_process';
import { createHash } from 'node:crypto';
import {
  chmodSync,
  chownSync,
  cpSync,
  existsSync,
  lstatSync,
  mkdirSync,
  renameSync,
  rmSync,
  writeFileSync,
} from 'node:fs';
import { tmpdir } from 'node:os';
import { dirname, resolve } from 'node:path';
import { promisify } from 'node:util';
import { LockkeeperError } from '../errors.ts';
import { type Binaries, binariesIn, findBinaries } from './binaries.ts';

const execute = promisify(execFile);

/** The user that Postgres runs as; undefined: our own. */
export type RunAs = { uid: number; gid: number } | undefined;

export type Home = { folder: string; binaries: Binaries; runAs: RunAs };

/** Makes the folder, or its stand-in, and finds the programs that can be run there. */
export async function prepareHome(wanted: string, log: (line: string) => void): Promise<Home> {
  const binaries = await findBinaries();
  const runAs = process.getuid?.() === 0 ? await postgresUser(log) : undefined;
  const here: Home = { folder: resolve(wanted), binaries, runAs };
  makeFolder(here.folder, runAs);
  if (await reachable(here)) return here;
  return moveToTemporary(here, log);
}

async function moveToTemporary(
  { folder, binaries, runAs }: Home,
  log: (line: string) => void,
): Promise<Home> {
  const name = createHash('sha256').update(folder).digest('hex').slice(0, 12);
  const there: Home = { folder: `${tmpdir()}/lockkeeper-${name}`, binaries, runAs };
  makePrivate(there.folder, runAs);
  if (!(await reachable(there))) there.binaries = copyBinaries(binaries, there.folder);
  if (!(await reachable(there))) {
    throw new LockkeeperError(
      `The user that Postgres must run as can reach neither ${folder} nor ${there.folder}.`,
      {
        hint: 'Set TMPDIR to a folder that every user can enter, or DATABASE_URL to a Postgres of yours.',
      },
    );
  }
  log(`The user postgres cannot reach ${dirname(folder)}; the embedded Postgres lives in ${there.folder}.`);
  return there;
}

/** Programs and folder both. Node enters a working directory before it changes the user, so that proves nothing. */
async function reachable({ folder, binaries, runAs }: Home): Promise<boolean> {
  try {
    if (runAs) await execute('sh', ['-c', 'cd "$1"', 'sh', folder], { cwd: '/', ...runAs });
    await execute(binaries.initdb, ['--version'], { cwd: '/', ...runAs });
    return true;
  } catch (error) {
    const { code, message } = error as { code?: unknown; message: string };
    if (runAs && (code === 'EACCES' || typeof code === 'number')) return false;
    throw new LockkeeperError(`${binaries.initdb} cannot be run: ${message.trim()}`, { cause: error });
  }
}

/** Entered by us and by Postgres, written by us alone; what is above it may be entered by all, and ignored by git. */
function makeFolder(folder: string, runAs: RunAs): void {
  const above = dirname(folder);
  if (!existsSync(above)) {
    mkdirSync(above, { recursive: true });
    chmodSync(above, 0o755);
    writeFileSync(`${above}/.gitignore`, '*\n');
  }
  mkdirSync(folder, { recursive: true });
  close(folder, runAs);
}

/** In a folder that everybody writes to, someone may have come first under the same name: then nothing is trusted. */
function makePrivate(folder: string, runAs: RunAs): void {
  mkdirSync(folder, { recursive: true, mode: 0o700 });
  const found = lstatSync(folder);
  if (!found.isDirectory() || found.uid !== process.getuid?.()) {
    throw new LockkeeperError(`${folder} belongs to somebody else.`, {
      hint: 'Remove it, or set TMPDIR to another folder.',
    });
  }
  close(folder, runAs);
}

function close(folder: string, runAs: RunAs): void {
  chmodSync(folder, runAs ? 0o710 : 0o700);
  if (runAs) chownSync(folder, 0, runAs.gid);
}

function copyBinaries(binaries: Binaries, home: string): Binaries {
  const copy = `${home}/native-${binaries.version}`;
  if (!existsSync(copy)) {
    const half = `${copy}.half`;
    rmSync(half, { recursive: true, force: true });
    cpSync(binaries.folder, half, { recursive: true, verbatimSymlinks: true });
    renameSync(half, copy);
  }
  return binariesIn(copy, binaries.version);
}

async function postgresUser(log: (line: string) => void): Promise<RunAs> {
  const found = await findUser();
  if (found) return found;
  log('Creating the system user postgres, since Postgres refuses to run as root.');
  try {
    await execute('useradd', [
      '--system',
      '--user-group',
      '--no-create-home',
      '--shell',
      '/usr/sbin/nologin',
      'postgres',
    ]);
  } catch (useradd) {
    await execute('adduser', ['-S', '-D', '-H', 'postgres']).catch((cause) => {
      throw new LockkeeperError(
        'Postgres refuses to run as root, and the user postgres could not be created.',
        {
          hint: `Create it, run as another user, or set DATABASE_URL. (useradd: ${(useradd as Error).message.trim()})`,
          cause,
        },
      );
    });
  }
  return findUser();
}

async function findUser(): Promise<RunAs> {
  try {
    const [uid, gid] = await Promise.all(
      ['-u', '-g'].map(async (flag) => Number((await execute('id', [flag, 'postgres'])).stdout)),
    );
    return uid && gid ? { uid, gid } : undefined;
  } catch (error) {
    if (typeof (error as { code?: unknown }).code === 'number') return undefined;
    throw error;
  }
}
