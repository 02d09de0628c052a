/** What a check of `doctor` finds. */

import type { Database, Query } from '../../database.ts';
import { failureOf } from '../failure.ts';

export type Status = 'ok' | 'warn' | 'fail';

export type Finding = {
  /** What was looked at, in one word. */
  check: string;
  status: Status;
  message: string;
  /** What to do. */
  hint: string | null;
};

/** What checks look at. */
export type Patient = {
  database: Database;
  pgBossSchema: string;
  /** Where the address of the database comes from. */
  source: string;
};

export const ok = (check: string, message: string): Finding => ({ check, status: 'ok', message, hint: null });
export const warn = (check: string, message: string, hint: string): Finding => ({
  check,
  status: 'warn',
  message,
  hint,
});
export const fail = (check: string, message: string, hint: string | null): Finding => ({
  check,
  status: 'fail',
  message,
  hint,
});

/** A check that throws has failed, with what was thrown. */
export async function findings(check: string, look: () => Promise<Finding | Finding[]>): Promise<Finding[]> {
  try {
    return [await look()].flat();
  } catch (error) {
    const { message, hint } = failureOf(error);
    return [fail(check, message, hint ?? null)];
  }
}

/** The first row of a query. */
export async function one<Row>(
  { execute }: Pick<Database, 'execute'>,
  text: string,
  values: unknown[] = [],
): Promise<Row> {
  return (await execute(text, values)).rows[0] as Row;
}

/** Works in a transaction, begun by this text, of which nothing is left behind. */
export async function undone<T>(
  { pool }: Pick<Database, 'pool'>,
  begin: string,
  work: (query: Query) => Promise<T>,
): Promise<T> {
  const client = await pool.connect();
  try {
    await client.query(begin);
    return await work((text, values) => client.query(text, values));
  } finally {
    await client.query('rollback').then(
      () => client.release(),
      (error) => client.release(error),
    );
  }
}

/** The rows of a query that may take long; undefined: it took longer than this, as `30s`. */
export async function readWithin(
  database: Pick<Database, 'pool'>,
  longest: string,
  text: string,
): Promise<Record<string, unknown>[] | undefined> {
  const begin = `begin transaction read only; set local statement_timeout = '${longest}'`;
  try {
    return (await undone(database, begin, (query) => query(text))).rows;
  } catch (error) {
    if ((error as { code?: unknown }).code !== '57014') throw error;
    return undefined;
  }
}
