/** The only file that opens pg and Kysely. */

import { CompiledQuery, Kysely, PostgresDialect, type PostgresPool, type PostgresPoolClient } from 'kysely';
import pg from 'pg';
import { fromPg, InvalidInputError } from './errors.ts';
import { checkSchema, defaultSchema, statementsFor } from './naming.ts';

export type Rows = { rows: Record<string, unknown>[] };

/**
 * Anything that executes one SQL statement: `$1` … in `text` stand for `values`. Give JSON as a string: pg would
 * send an array as an array of Postgres. Errors of Lockkeeper's functions are thrown as their classes (errors.ts).
 */
export type Executor = (text: string, values: unknown[]) => Promise<Rows>;

/** An executor that takes several statements in one text when there are no values. */
export type Query = (text: string, values?: unknown[]) => Promise<Rows>;

/** A transaction or connection of the caller: of pg, of Kysely, of pg-boss (`executeSql`), or an executor itself. */
export type ExecutorSource =
  | Executor
  | { query(text: string, values: unknown[]): Promise<Rows> }
  | { executeQuery(query: CompiledQuery): Promise<{ rows: unknown[] }> }
  | { executeSql(text: string, values: unknown[]): Promise<{ rows: unknown[] }> };

export type DatabaseOptions = {
  /** `postgres://user:password@host:port/database` */
  connectionString: string;
  /** The schema of this Lockkeeper (`LOCKKEEPER_SCHEMA`), which has another beside it; `lockkeeper` if left out. */
  schema?: string | undefined;
  /** Most connections of the pool; 10 if left out. */
  max?: number;
  /** What `pg_stat_activity` shows; `lockkeeper` if left out. */
  applicationName?: string;
  /** Called when an idle connection is lost (the pool opens another); writes a line to stderr if left out. */
  onError?: (error: Error) => void;
};

export type Database<Schema = unknown> = {
  /** Sends what it is given: a statement that says `lockkeeper.runs` means the schema of that name. */
  pool: pg.Pool;
  /** Says `lockkeeper` for the schema of this Lockkeeper, whatever that is called, as `execute` does. */
  db: Kysely<Schema>;
  /** One statement on any connection of the pool. */
  execute: Executor;
  schema: string;
  connectionString: string;
  /** Waits for what is running, then closes every connection. */
  close(): Promise<void>;
};

/**
 * Sets the isolation level that the functions demand, where the role or the database has another default. A startup
 * parameter would do it without a round trip, but PgBouncer refuses those it does not know. In its transaction mode
 * this reaches only one of the server connections, so that there `alter role … set default_transaction_isolation`
 * is needed (the functions refuse any other level, and say so); where the default is right, nothing is written.
 */
const setIsolation = `select set_config('default_transaction_isolation', 'read committed', false)
  where current_setting('default_transaction_isolation') <> 'read committed'`;

/** Our statements are short: compiling them costs a hundred times what they do. */
const setJit = "select set_config('jit', 'off', false) where current_setting('jit') <> 'off'";

const report = (error: Error) =>
  console.error(`lockkeeper: a database connection was lost: ${error.message}`);

/** Opens a pool; the first statement connects. bigint and numeric stay strings, as pg gives them. */
export function openDatabase<Schema = unknown>(options: DatabaseOptions): Database<Schema> {
  const { connectionString } = options;
  checkConnectionString(connectionString);
  const schema = checkSchema(options.schema ?? defaultSchema);
  const pool = new pg.Pool({
    connectionString,
    max: options.max ?? 10,
    application_name: options.applicationName ?? 'lockkeeper',
    keepAlive: true,
    onConnect: async (client: pg.ClientBase) => {
      await client.query(`${setIsolation}; ${setJit}`);
    },
  });
  const db = new Kysely<Schema>({ dialect: new PostgresDialect({ pool: namedPool(pool, schema) }) });
  let closing: Promise<void> | undefined;
  pool.on('error', (error) => {
    if (!closing) (options.onError ?? report)(error);
  });
  const close = () => {
    closing ??= pool.end();
    return closing;
  };
  return { pool, db, execute: executor(pool, schema), schema, connectionString, close };
}

/** pg's own parser judges; its error is not passed on, since it may hold the address with the password. */
function checkConnectionString(connectionString: string): void {
  if (/^postgres(ql)?:\/\//.test(connectionString)) {
    try {
      new pg.Client({ connectionString });
      return;
    } catch {
      // Told below, in words of ours.
    }
  }
  throw new InvalidInputError('The connection string is not a postgres:// address.', {
    hint: 'Write postgres://user:password@host:port/database; percent-encode special characters of the password.',
  });
}

/** The executor of a transaction or connection, see `ExecutorSource`, for the Lockkeeper of this schema. */
export function executor(source: ExecutorSource, schema = defaultSchema): Executor {
  const run = rawExecutor(source);
  const execute = withOurErrors(run);
  const unchanged = unchangedBy.get(run);
  if (unchanged) unchangedBy.set(execute, withOurErrors(unchanged));
  return named(execute, schema);
}

function withOurErrors(run: Executor): Executor {
  return async (text, values) => {
    try {
      return await run(text, values);
    } catch (error) {
      throw fromPg(error);
    }
  };
}

/** For an executor that changes names: what sends the same statements as they are written. */
const unchangedBy = new WeakMap<Executor, Executor>();

/** The same executor for statements that are not ours, pg-boss's: no name in them is changed. */
export const asWritten = <E extends Executor>(execute: E): E => (unchangedBy.get(execute) as E) ?? execute;

/** Makes the statements that it sends say this schema; see naming.ts. */
function named<E extends Executor>(send: E, schema: string): E {
  const rename = statementsFor(schema);
  if (!rename) return send;
  const execute = ((text, values) => send(rename(text), values)) as E;
  unchangedBy.set(execute, asWritten(send));
  return execute;
}

/** The pool as Kysely needs it. */
function namedPool(pool: PostgresPool, schema: string): PostgresPool {
  const rename = statementsFor(schema);
  if (!rename) return pool;
  const { Client, options } = pool;
  const connect = async (): Promise<PostgresPoolClient> => {
    const client = await pool.connect();
    const query = (text: unknown, values: unknown[]) =>
      client.query((typeof text === 'string' ? rename(text) : text) as string, values);
    return {
      query: query as PostgresPoolClient['query'],
      release: (destroy) => client.release(destroy),
      ...(client.processID === undefined ? {} : { processID: client.processID }),
    };
  };
  return { ...(Client ? { Client } : {}), options, connect, end: () => pool.end() };
}

function rawExecutor(source: ExecutorSource): Executor {
  if (typeof source === 'function') return source;
  if ('executeSql' in source) return async (text, values) => (await source.executeSql(text, values)) as Rows;
  if ('executeQuery' in source)
    return async (text, values) => (await source.executeQuery(CompiledQuery.raw(text, values))) as Rows;
  return (text, values) => source.query(text, values);
}

/**
 * Executes a statement that does a part of the work at a time, again until its row says that there is no `more`, and at
 * most so many times. Answers the rows.
 */
export async function untilDone<Row extends { more: boolean }>(
  execute: Executor,
  text: string,
  values: unknown[] = [],
  atMost = Number.POSITIVE_INFINITY,
): Promise<Row[]> {
  const answers: Row[] = [];
  while (answers.length < atMost && answers.at(-1)?.more !== false) {
    const { rows } = await execute(text, values);
    answers.push(rows[0] as Row);
  }
  return answers;
}

/** The `db` option of pg-boss's calls, so that they join the transaction of this executor. */
export function pgBossDb(execute: Executor): { executeSql(text: string, values?: unknown[]): Promise<Rows> } {
  const send = asWritten(execute);
  return { executeSql: (text, values) => send(text, values ?? []) };
}

/**
 * Runs `work` in one READ COMMITTED transaction on one connection; rolls back and throws when it throws. `query`
 * takes several statements in one text when there are no values.
 */
export async function transaction<T>(
  database: Pick<Database, 'pool' | 'schema'>,
  work: (query: Query) => Promise<T>,
): Promise<T> {
  const client = await database.pool.connect();
  let broken: Error | undefined;
  try {
    await client.query('begin isolation level read committed');
    const query: Query = (text, values) => client.query(text, values);
    const result = await work(named(query, database.schema));
    await client.query('commit');
    return result;
  } catch (error) {
    await client.query('rollback').catch((failure: Error) => {
      broken = failure;
    });
    throw fromPg(error);
  } finally {
    client.release(broken);
  }
}

export type ListenOptions = {
  connectionString: string;
  channel: string;
  /** Called for each notification, and after every (re)connection, since one may have been missed. */
  onNotify: (payload: string) => void;
  /** Waits before the next attempt to connect; `attempt` counts from 1 and starts anew after a success. */
  wait: (attempt: number) => Promise<void>;
  onError?: (error: Error) => void;
};

/**
 * Listens on a connection of its own, which is opened again whenever it is lost. Returns at once; a first failure
 * to connect goes to `onError` like any later one. LISTEN needs a session: through PgBouncer in transaction mode
 * nothing arrives, which costs speed and nothing else.
 */
export function listen(options: ListenOptions): { close(): Promise<void> } {
  checkConnectionString(options.connectionString);
  const closing = new AbortController();
  const loop = keepListening(options, closing.signal);
  return {
    close: async () => {
      closing.abort();
      await loop;
    },
  };
}

async function keepListening(options: ListenOptions, closing: AbortSignal): Promise<void> {
  const onError = options.onError ?? report;
  const closed = new Promise<void>((resolve) =>
    closing.addEventListener('abort', () => resolve(), { once: true }),
  );
  let attempt = 0;
  while (!closing.aborted) {
    try {
      await listenOnce(options, closed, () => {
        attempt = 0;
      });
    } catch (error) {
      if (closing.aborted) return;
      onError(error as Error);
      attempt += 1;
      await Promise.race([options.wait(attempt), closed]);
    }
  }
}

/** Ends when `closed` does, and fails when the connection is lost. */
async function listenOnce(
  options: ListenOptions,
  closed: Promise<void>,
  onConnected: () => void,
): Promise<void> {
  const { connectionString, channel, onNotify, onError = report } = options;
  const client = new pg.Client({ connectionString, application_name: 'lockkeeper listen', keepAlive: true });
  const lost = new Promise<never>((_, reject) => {
    client.on('error', reject);
    client.on('end', () => reject(new Error('The connection that listens has ended.')));
  });
  lost.catch(() => undefined); // It is awaited below; until then a rejection must not count as unhandled.
  client.on('notification', (message) => onNotify(message.payload ?? ''));
  try {
    await Promise.race([client.connect(), lost]);
    await client.query(`listen ${pg.escapeIdentifier(channel)}`);
    onConnected();
    onNotify('');
    await Promise.race([closed, lost]);
  } finally {
    await client.end().catch(onError); // Mostly closed already.
  }
}
