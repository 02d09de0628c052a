/** What every command needs: the settings that all have, and Lockkeeper, open. */

import type { Command } from 'commander';
import { InvalidInputError } from '../errors.ts';
import type { AnyJob, Logger } from '../jobs.ts';
import { createLockkeeper, type Lockkeeper } from '../lockkeeper.ts';
import type { Io } from './io.ts';
import { logOf } from './log.ts';
import { findDev } from './running-dev.ts';
import { json } from './text.ts';

/** The options of every command. */
export type Settings = { json: boolean; databaseUrl: string | undefined };

export function settingsOf(command: Command, io: Io): Settings {
  const { json = false, databaseUrl } = command.optsWithGlobals();
  return { json, databaseUrl: databaseUrl || io.env.DATABASE_URL || undefined };
}

/**
 * The database that was named, else that of a `dev` that runs here.
 * @throws {InvalidInputError} when there is neither.
 */
export function requireUrl(settings: Settings): string {
  const databaseUrl = settings.databaseUrl ?? findDev();
  if (databaseUrl) return databaseUrl;
  throw new InvalidInputError('There is no database: set DATABASE_URL, or run `lockkeeper dev`.', {
    hint: 'DATABASE_URL=postgres://user:password@host:port/database, in the environment, in .env or with --database-url.',
  });
}

/** The schemas of Lockkeeper and pg-boss, where others than the usual ones are set. */
export const schemasOf = (io: Io) => ({
  schema: io.env.LOCKKEEPER_SCHEMA || undefined,
  pgBossSchema: io.env.PGBOSS_SCHEMA || undefined,
});

export type OpenOptions = {
  databaseUrl: string;
  jobs?: readonly AnyJob[] | undefined;
  log?: Logger;
  maxConnections?: number;
};

/** Opens Lockkeeper; warnings go to standard error unless there is another log. */
export function open(io: Io, options: OpenOptions): Promise<Lockkeeper> {
  return createLockkeeper({
    connectionString: options.databaseUrl,
    ...schemasOf(io),
    jobs: options.jobs,
    maxConnections: options.maxConnections,
    log: options.log ?? logOf({ io, to: 'err' }),
  });
}

/** For a command that asks or changes something, and ends. */
export async function withLockkeeper<T>(
  io: Io,
  settings: Settings,
  work: (lockkeeper: Lockkeeper) => Promise<T>,
): Promise<T> {
  const lockkeeper = await open(io, { databaseUrl: requireUrl(settings), maxConnections: 3 });
  try {
    return await work(lockkeeper);
  } finally {
    await lockkeeper.close();
  }
}

/** Rows of a plain select on a view. */
export async function select<Row>(
  lockkeeper: Lockkeeper,
  text: string,
  values: unknown[] = [],
): Promise<Row[]> {
  return (await lockkeeper.database.execute(text, values)).rows as Row[];
}

/** Prints the answer of a command: as JSON if that was asked for, else as `text` says it. */
export function answer(io: Io, settings: Settings, value: unknown, text: () => string): void {
  io.out(settings.json ? json(value) : text());
}
