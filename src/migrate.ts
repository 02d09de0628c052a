/**
 * Brings a database to this release: sql/tables, numbered and append-only, then sql/code, replaced as a whole.
 * Everything happens in one transaction, so a failure leaves the database as it was. Any number of processes may
 * call it at once: the first works, the others wait for it and then find nothing to do.
 */

import { createHash } from 'node:crypto';
import { readdir, readFile } from 'node:fs/promises';
import { basename } from 'node:path';
import { fileURLToPath } from 'node:url';
import { type Database, type Rows, transaction } from './database.ts';
import { SchemaError } from './errors.ts';

/**
 * The first of Lockkeeper's 64-bit advisory lock numbers. Keys use +0 … +2047, configuration +4096, admission +4097,
 * migration +4098.
 */
export const advisoryLockBase = 5505019530000000000n;
export const configurationLock = advisoryLockBase + 4096n;
export const admissionLock = advisoryLockBase + 4097n;
export const migrationLock = advisoryLockBase + 4098n;

/** The package's own SQL; the same place seen from src and from dist. */
export const sqlFolder = fileURLToPath(new URL('../sql', import.meta.url));

/** A schema of somebody else's that must be in place before ours. It is brought there on a connection of its own. */
export type OtherSchema = {
  /** Changes when there is something to do, such as `pg-boss 12.38.0`. */
  version: string;
  /** Must be repeatable. Called while this process holds the migration lock, so its pool needs two connections. */
  migrate: () => Promise<void>;
};

export type MigrateOptions = {
  /** Only say what would be done. */
  dryRun?: boolean;
  /** Other schemas, in order, before ours: pg-boss's. */
  alsoMigrate?: OtherSchema[];
  /** Where `tables/` and `code/` are; the package's own if left out. */
  folder?: string;
};

export type Migrated = {
  /** The schema version found (0: an empty database) and the one reached: the number of the last file of sql/tables. */
  from: number;
  to: number;
  /** Whether something was done (with `dryRun`: would be). */
  changed: boolean;
  /** The files of sql/tables that were applied (would be). */
  applied: string[];
};

type SqlFile = { name: string; number: number; text: string; hash: string };
type Target = { tables: SqlFile[]; code: SqlFile[]; version: number; release: string; codeHash: string };
type Present = {
  tables: number;
  release: string;
  codeHash: string;
  applied: Map<number, { name: string; hash: string }>;
};
type Query = (text: string, values?: unknown[]) => Promise<Rows>;

/** Migrates the database; see the head of this file. Throws SchemaError when the schema is newer than this code. */
export async function migrate(
  database: Pick<Database, 'pool'>,
  options: MigrateOptions = {},
): Promise<Migrated> {
  const others = options.alsoMigrate ?? [];
  const target = await readTarget(options.folder ?? sqlFolder, others);
  const query: Query = (text, values) => database.pool.query(text, values);
  const seen = compare(target, await readPresent(query));
  if (!seen.changed || options.dryRun) return seen;
  return transaction(database, async (within) => {
    await within(`set local lock_timeout = 0; set local statement_timeout = 0;
      set local idle_in_transaction_session_timeout = 0; set local client_min_messages = warning;
      set local search_path = pg_catalog`);
    await within(`select pg_advisory_xact_lock(${migrationLock})`);
    const plan = compare(target, await readPresent(within));
    if (plan.changed) await bring(within, target, plan, others);
    return plan;
  });
}

/** The number of the last migration that this database has had; 0 when it has none. */
export async function schemaVersion(database: Pick<Database, 'pool'>): Promise<number> {
  return (await readPresent((text, values) => database.pool.query(text, values))).tables;
}

async function bring(query: Query, target: Target, plan: Migrated, others: OtherSchema[]): Promise<void> {
  for (const other of others) await other.migrate();
  await query(`select pg_advisory_xact_lock(${configurationLock})`);
  await runFile(query, await readSqlFile(`${sqlFolder}/migrations.sql`));
  await query('select lockkeeper_data.drop_code()');
  for (const file of target.tables.filter((table) => table.number > plan.from)) {
    await runFile(query, file);
    await query('select lockkeeper_data.record_migration($1, $2, $3)', [file.number, file.name, file.hash]);
  }
  for (const file of target.code) await runFile(query, file);
  await query('select lockkeeper_data.record_schema_version($1, $2, $3)', [
    target.version,
    target.release,
    target.codeHash,
  ]);
}

function compare(target: Target, present: Present): Migrated {
  const known = `this Lockkeeper (release ${target.release})`;
  if (present.tables > target.version || isNewer(present.release, target.release)) {
    throw new SchemaError(
      `The database has schema version ${present.tables} of release ${present.release}; ${known} knows versions up to ${target.version}.`,
      { hint: 'Install the newer release of lockkeeper in this process. A schema never goes back.' },
    );
  }
  for (const file of target.tables) {
    const was = present.applied.get(file.number);
    if (was && was.hash !== file.hash) {
      throw new SchemaError(
        `sql/tables/${file.name} is not the file that this database was migrated with (${was.name}).`,
        {
          hint: 'Files of sql/tables never change once applied: put it back and add a new one. A database only for development can be dropped instead.',
        },
      );
    }
  }
  const applied = target.tables.filter((file) => file.number > present.tables).map((file) => file.name);
  const changed = applied.length > 0 || present.codeHash !== target.codeHash;
  return { from: present.tables, to: target.version, changed, applied };
}

function isNewer(release: string, than: string): boolean {
  return release.localeCompare(than, 'en', { numeric: true }) > 0;
}

async function readPresent(query: Query): Promise<Present> {
  const none = { tables: 0, release: '', codeHash: '', applied: new Map() };
  // Not to_regclass: it answers from a cache that may be older than the lock we have just waited for.
  const exists = await query(`select exists (
    select from pg_catalog.pg_class c join pg_catalog.pg_namespace n on n.oid = c.relnamespace
    where n.nspname = 'lockkeeper_data' and c.relname = 'schema_version') as yes`);
  if (!exists.rows[0]?.yes) return none;
  const { rows } = await query(`select v.tables, v.release, v.code_hash, m.version, m.name, m.hash
    from lockkeeper_data.schema_version v left join lockkeeper_data.migrations m on true`);
  const first = rows[0];
  if (!first) return none;
  const applied = new Map(
    rows.map((row) => [Number(row.version), { name: String(row.name), hash: String(row.hash) }]),
  );
  return {
    tables: Number(first.tables),
    release: String(first.release),
    codeHash: String(first.code_hash),
    applied,
  };
}

async function readTarget(folder: string, others: OtherSchema[]): Promise<Target> {
  const [tables, code, own] = await Promise.all([
    readSqlFiles(`${folder}/tables`),
    readSqlFiles(`${folder}/code`),
    readSqlFile(`${sqlFolder}/migrations.sql`),
  ]);
  tables.forEach((file, index) => {
    if (file.number !== index + 1)
      throw new SchemaError(
        `sql/tables/${file.name} must have the number ${index + 1}: the files are numbered without gaps.`,
      );
  });
  const { version } = JSON.parse(await readFile(new URL('../package.json', import.meta.url), 'utf8'));
  const codeHash = hashOf(
    [own, ...code]
      .map((file) => file.hash)
      .concat(others.map((other) => other.version))
      .join(),
  );
  return { tables, code, version: tables.length, release: version, codeHash };
}

async function readSqlFiles(folder: string): Promise<SqlFile[]> {
  const names = (await readdir(folder)).filter((name) => /^\d+_.*\.sql$/.test(name));
  const files = await Promise.all(names.map((name) => readSqlFile(`${folder}/${name}`)));
  return files.sort((a, b) => a.number - b.number || a.name.localeCompare(b.name));
}

async function readSqlFile(path: string): Promise<SqlFile> {
  const text = (await readFile(path, 'utf8')).replaceAll('\r\n', '\n');
  const name = basename(path);
  return { name, number: Number.parseInt(name, 10), text, hash: hashOf(text) };
}

function hashOf(text: string): string {
  return createHash('sha256').update(text).digest('hex');
}

/** An error in a file names the file and the line. */
async function runFile(query: Query, file: SqlFile): Promise<void> {
  if (!file.text.trim()) return;
  try {
    await query(file.text);
  } catch (error) {
    const { message, position } = error as Error & { position?: string };
    const line = position ? file.text.slice(0, Number(position)).split('\n').length : undefined;
    throw new SchemaError(`${file.name}${line ? `:${line}` : ''}: ${message}`, { cause: error });
  }
}
