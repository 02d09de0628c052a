/**
 * A step that cannot be stopped: its handler does not listen to its signal, and writes when others have long taken
 * over. What it writes to is guarded: a row remembers the greatest fencing token that wrote it, and refuses a smaller.
 */

import { job } from '../src/index.ts';

/** Anything that executes SQL and tells how many rows it changed: a pool or a client of `pg`. */
export type Sql = { query(text: string, values?: unknown[]): Promise<{ rowCount: number | null }> };

export const fencingTable = `
  create table if not exists reports (
    day date primary key,
    rows integer not null,
    fencing_token bigint not null
  )`;

/** Writes the report, unless a later attempt has written. True: it is written. */
export async function writeReport(
  sql: Sql,
  report: { day: string; rows: number; fencingToken: number },
): Promise<boolean> {
  const { rowCount } = await sql.query(
    `insert into reports as r (day, rows, fencing_token) values ($1, $2, $3)
     on conflict (day) do update set rows = excluded.rows, fencing_token = excluded.fencing_token
     where r.fencing_token <= excluded.fencing_token`,
    [report.day, report.rows, report.fencingToken],
  );
  return rowCount === 1;
}

/** `count` takes as long as it takes, and has no way to be stopped. */
export function createReport(sql: Sql, count: (attempt: number) => Promise<number>) {
  return job('report', async ({ attempt, fencingToken }) => {
    const rows = await count(attempt);
    if (!(await writeReport(sql, { day: '2026-11-25', rows, fencingToken })))
      throw new Error('A later attempt has written the report: this one came too late.');
    return { rows };
  });
}
