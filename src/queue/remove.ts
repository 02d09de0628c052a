/** Takes Lockkeeper's queues out of pg-boss again, with all that is in them; other queues stay as they are. */

import type { Query } from '../database.ts';
import type { QueueNames } from './boss.ts';

export type BossLeft = {
  /** The queues of ours that were there. */
  queues: string[];
  /** The queues of others that are there. */
  others: string[];
  /** Whether there is a pg-boss in this schema at all. */
  there: boolean;
};

/** Looks; removes nothing. `schema`: of pg-boss, written as in SQL. */
export async function findQueues(query: Query, schema: string, names: QueueNames): Promise<BossLeft> {
  const exists = await query('select pg_catalog.to_regclass($1) is not null as yes', [`${schema}.queue`]);
  if (!exists.rows[0]?.yes) return { queues: [], others: [], there: false };
  // pg-boss has queues of its own, for what it does by itself.
  const { rows } = await query(
    `select name, name = any ($1) as ours from ${schema}.queue where name not like '\\_\\_pgboss\\_\\_%' order by name`,
    [Object.values(names)],
  );
  const of = (ours: boolean) => rows.filter((row) => row.ours === ours).map((row) => String(row.name));
  return { queues: of(true), others: of(false), there: true };
}

/** Removes queues, in the transaction of the query. */
export async function removeQueues(query: Query, schema: string, queues: readonly string[]): Promise<void> {
  // pg-boss's own call commits; this is the function under it. A queue's table goes with it.
  for (const queue of queues) await query(`select ${schema}.delete_queue($1)`, [queue]);
}
