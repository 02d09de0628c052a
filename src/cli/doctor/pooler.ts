/** Whether a pooler such as PgBouncer in transaction mode is between us and the server. */

import type { Database } from '../../database.ts';
import { type Finding, ok, type Patient, warn } from './finding.ts';

/** One connection, as far as this file needs it. */
export type Session = { query(text: string): Promise<{ rows: Record<string, unknown>[] }> };

/**
 * Two connections that one server process serves by turns, or one that several do: a pooler that gives a server
 * connection for a transaction only. With a server process of its own for each, both answer as they did before.
 */
export async function sharesServers(first: Session, second: Session): Promise<boolean> {
  const pidOf = async (session: Session) =>
    (await session.query('select pg_catalog.pg_backend_pid() as pid')).rows[0]?.pid;
  const before = await pidOf(first);
  await second.query('begin');
  try {
    const other = await pidOf(second);
    return other === before || (await pidOf(first)) !== before;
  } finally {
    await second.query('rollback');
  }
}

export async function checkPooler({ database }: Patient): Promise<Finding> {
  if (!(await withSessions(database, sharesServers)))
    return ok('pooler', 'each connection has a session of its own');
  return warn(
    'pooler',
    'a pooler in transaction mode is between this process and the server',
    "It works, with two differences: wakes of other processes do not arrive (LISTEN needs a session), so that they are noticed up to a second later; and sessions keep no settings, so set them on the role: alter role … set default_transaction_isolation = 'read committed', set jit = off. A DATABASE_URL that goes past the pooler avoids both.",
  );
}

async function withSessions<T>(
  { pool }: Database,
  look: (first: Session, second: Session) => Promise<T>,
): Promise<T> {
  const first = await pool.connect();
  try {
    const second = await pool.connect();
    try {
      return await look(first, second);
    } finally {
      second.release();
    }
  } finally {
    first.release();
  }
}
