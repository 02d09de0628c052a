/**
 * Brings a database to this release: sql/tables, numbered and append-only, then sql/code, replaced as a whole.
 * Everything happens in one transaction, so a failure leaves the database as it was. Any number of processes may
 * call it at once: the first works, the others wait for it and then find nothing to do.
 */

import { createHash } from 'node:crypto';
import { readdir, readFile } from 'node:fs/promises';
import { basename } from 'node:path';
import { fileURLToPath } from 'node:url';
import { asWritten, type Database, type Query, transaction } from './database.ts';
import { SchemaError } from './errors.ts';
import { dataSchemaOf, lockNumber, sourceFor } from './naming.ts';

/** Numbers of advisory locks. */
export const configurationLock = 4_096;
export const migrationLock = 4_098;

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
  dryRun?: boolean | undefined;
  /** Put functions and views in place even if those of this release were: somebody may have changed them. */
  again?: boolean | undefined;
  /** Other schemas, in order, before ours: pg-boss's. */
  alsoMigrate?: OtherSchema[];
  /** Where `tables/` and `code/` are; the package's own if left out. */
  folder?: string;
  /** Told before each part of the work: `done` parts of `of` are. */
  onProgress?: ((part: string, done: number, of: number) => void) | undefined;
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
type MigratedDatabase = Pick<Database, 'pool' | 'execute' | 'schema'>;

/**
 * Migrates the schema of this database; see the head of this file.
 * @throws {SchemaError} when it is newer than this code, or holds what is not Lockkeeper's.
 */
export async function migrate(database: MigratedDatabase, options: MigrateOptions = {}): Promise<Migrated> {
  const { schema } = database;
  const others = options.alsoMigrate ?? [];
  const target = await readTarget(options.folder ?? sqlFolder, others);
  const seen = compare(target, await readPresent(queryOf(database), schema), options.again);
  if (!seen.changed || options.dryRun) return seen;
  return transaction(database, async (within) => {
    await within(`set local lock_timeout = 0; set local statement_timeout = 0;
      set local idle_in_transaction_session_timeout = 0; set local client_min_messages = warning;
      set local search_path = pg_catalog`);
    await within('select pg_advisory_xact_lock($1)', [lockNumber(schema, migrationLock)]);
    const plan = compare(target, await readPresent(within, schema), options.again);
    if (plan.changed) {
      const { onProgress = () => {} } = options;
      await bring({ query: within, schema, target, plan, others, onProgress });
    }
    return plan;
  });
}

/** The number of the last migration that this database has had; 0 when it has none. */
export async function schemaVersion(database: MigratedDatabase): Promise<number> {
  return (await readPresent(queryOf(database), database.schema)).tables;
}

function queryOf({ execute }: MigratedDatabase): Query {
  return (text, values = []) => execute(text, values);
}

type Bringing = {
  query: Query;
  schema: string;
  target: Target;
  plan: Migrated;
  others: OtherSchema[];
  onProgress: NonNullable<MigrateOptions['onProgress']>;
};

async function bring({ query, schema, target, plan, others, onProgress }: Bringing): Promise<void> {
  const tables = target.tables.filter((table) => table.number > plan.from);
  const parts = [
    ...others.map(({ version }) => version),
    ...[...tables, ...target.code].map(({ name }) => name),
  ];
  let done = 0;
  const next = () => onProgress(parts[done] ?? '', done++, parts.length);
  for (const other of others) {
    next();
    await other.migrate();
  }
  await query('select pg_advisory_xact_lock($1)', [lockNumber(schema, configurationLock)]);
  await runFile(query, schema, await readSqlFile(`${sqlFolder}/migrations.sql`));
  const { rows } = await query('select lockkeeper_data.grants()::text as grants');
  await query('select lockkeeper_data.drop_code()');
  for (const file of tables) {
    next();
    await runFile(query, schema, file);
    await query('select lockkeeper_data.record_migration($1, $2, $3)', [file.number, file.name, file.hash]);
  }
  for (const file of target.code) {
    next();
    await runFile(query, schema, file);
  }
  await query('select lockkeeper_data.grant_again($1)', [rows[0]?.grants]);
  await query('select lockkeeper_data.record_schema_version($1, $2, $3)', [
    target.version,
    target.release,
    target.codeHash,
  ]);
}

/**
 * Makes what this release makes under another schema, within a transaction that the caller rolls back: to compare with.
 * @throws {SchemaError}
 */
export async function makeCopy(query: Query, schema: string): Promise<void> {
  const { tables, code } = await readTarget(sqlFolder, []);
  const own = await readSqlFile(`${sqlFolder}/migrations.sql`);
  for (const file of [own, ...tables, ...code]) await runFile(query, schema, file);
}

function compare(target: Target, present: Present, again = false): Migrated {
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
  const changed = again || applied.length > 0 || present.codeHash !== target.codeHash;
  return { from: present.tables, to: target.version, changed, applied };
}

function isNewer(release: string, than: string): boolean {
  return release.localeCompare(than, 'en', { numeric: true }) > 0;
}

async function readPresent(query: Query, schema: string): Promise<Present> {
  const none = { tables: 0, release: '', codeHash: '', applied: new Map() };
  // Not to_regclass: it answers from a cache that may be older than the lock we have just waited for.
  const exists = await query(
    `select exists (
      select from pg_catalog.pg_class c join pg_catalog.pg_namespace n on n.oid = c.relnamespace
      where n.nspname = $1 and c.relname = 'schema_version') as yes`,
    [dataSchemaOf(schema)],
  );
  if (!exists.rows[0]?.yes) {
    await refuseOccupied(query, schema);
    return none;
  }
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

/** Whatever is in our schemas is replaced, so before the first time nothing may be there. */
async function refuseOccupied(query: Query, schema: string): Promise<void> {
  const { rows } = await query(
    `select n.nspname || '.' || o.name as name from (
       select relnamespace as schema, relname as name from pg_catalog.pg_class
       union all select pronamespace, proname from pg_catalog.pg_proc
       union all select typnamespace, typname from pg_catalog.pg_type) o
     join pg_catalog.pg_namespace n on n.oid = o.schema where n.nspname = any ($1)
       -- Another process may have migrated since the look before this one.
       and not exists (select from pg_catalog.pg_class c where c.relnamespace = to_regnamespace($2) and c.relname = 'schema_version')
     order by 1 limit 1`,
    [[schema, dataSchemaOf(schema)], dataSchemaOf(schema)],
  );
  if (!rows[0]) return;
  throw new SchemaError(
    `The schemas ${schema} and ${dataSchemaOf(schema)} must be empty before the first migration; ${rows[0].name} is there.`,
    { hint: 'Set another schema in LOCKKEEPER_SCHEMA (the option `schema`), or drop what is there.' },
  );
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
async function runFile(query: Query, schema: string, file: SqlFile): Promise<void> {
  const text = sourceFor(schema, file.text);
  if (!text.trim()) return;
  try {
    await asWritten(query)(text);
  } catch (error) {
    const { message, position } = error as Error & { position?: string };
    const line = position ? text.slice(0, Number(position)).split('\n').length : undefined;
    throw new SchemaError(`${file.name}${line ? `:${line}` : ''}: ${message}`, { cause: error });
  }
}
