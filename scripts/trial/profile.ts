/** Where the time went: transactions, and with `--profile` the functions of Postgres by their own time. */

import type { Database } from '../../src/database.ts';
import { delay } from '../../src/wake.ts';

/** How many transactions this database has committed so far. Backends report late, so only a hint. */
export async function commits(database: Database): Promise<number> {
  const { rows } = await database.execute(
    'select pg_stat_get_db_xact_commit(oid) as commits from pg_database where datname = current_database()',
    [],
  );
  return Number(rows[0]?.commits);
}

/** Counts calls and time of each function from now on, in connections that are opened later. Needs a superuser. */
export async function trackFunctions(database: Database): Promise<void> {
  const { rows } = await database.execute('select current_database() as name', []);
  await database.execute(`alter database "${rows[0]?.name}" set track_functions = 'all'`, []);
}

/** Counts from zero again. */
export async function forgetFunctions(database: Database): Promise<void> {
  await delay(reportedMs);
  await database.execute('select pg_stat_reset()', []);
}

/** Backends report what they counted at most once a second. */
export const reportedMs = 1_100;

/** The functions that took the most time of their own, a line each. */
export async function topFunctions(database: Database, most = 30): Promise<string[]> {
  const { rows } = await database.execute(
    `select schemaname || '.' || funcname as name, calls, round(self_time) as self, round(total_time) as total
     from pg_stat_user_functions order by self_time desc limit $1`,
    [most],
  );
  const line = ({ self, total, calls, name }: Record<string, unknown>) =>
    `  ${String(self).padStart(7)} ms self ${String(total).padStart(7)} ms total ${String(calls).padStart(7)} calls  ${name}`;
  return rows.map(line);
}
