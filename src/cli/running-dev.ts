/**
 * How the other commands find the embedded Postgres of a `dev` that runs in the same directory: it leaves a note, with
 * the name of its process, in a folder that only its user can read. A note of a process that died counts for nothing,
 * and the next `dev` removes it.
 */

import { chmodSync, existsSync, mkdirSync, readdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { lives, processName } from '../embedded/process.ts';

const folder = '.lockkeeper/dev';

type Note = { path: string; url: string; alive: boolean };

/** Leaves the note; what it returns takes it away again. */
export function noteDev(url: string): () => void {
  mkdirSync(folder, { recursive: true, mode: 0o700 });
  chmodSync(folder, 0o700);
  for (const { path, alive } of notes()) if (!alive) rmSync(path, { force: true });
  const path = `${folder}/${process.pid}`;
  writeFileSync(path, `${processName(process.pid)}\n${url}\n`, { mode: 0o600 });
  return () => rmSync(path, { force: true });
}

/** The address that a living `dev` left here. */
export const findDev = (): string | undefined => notes().find(({ alive }) => alive)?.url;

function notes(): Note[] {
  if (!existsSync(folder)) return [];
  return readdirSync(folder).flatMap((file) => {
    const path = `${folder}/${file}`;
    const text = readNote(path);
    if (text === undefined) return [];
    const [name = '', url = ''] = text.split('\n');
    return [{ path, url, alive: lives(name) }];
  });
}

/** Its `dev` may take it away meanwhile. */
function readNote(path: string): string | undefined {
  try {
    return readFileSync(path, 'utf8');
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code === 'ENOENT') return undefined;
    throw error;
  }
}
