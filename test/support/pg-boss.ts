/** A pg-boss that knows nothing of Lockkeeper, as somebody else's program has it, on the same database. */

import { PgBoss } from 'pg-boss';
import { afterAll } from 'vitest';
import { type Database, type Executor, executor, transaction } from '../../src/database.ts';
import { openQueue, type Queue } from '../../src/queue/boss.ts';
import { testDatabase } from './database.ts';

/** Runs neither maintenance nor cron; stopped after the tests of the file. */
export async function strangersBoss(database: Pick<Database, 'connectionString'>): Promise<PgBoss> {
  const { connectionString } = database;
  const boss = new PgBoss({ connectionString, supervise: false, schedule: false, migrate: false });
  await boss.start();
  afterAll(() => boss.stop({ graceful: false }));
  return boss;
}

export type BossStage = {
  database: Database;
  queue: Queue;
  stranger: PgBoss;
  rows(text: string, values?: unknown[]): Promise<Record<string, unknown>[]>;
  /** What a look finds that others did in pg-boss. */
  outside(): Promise<Record<string, unknown> | undefined>;
  /** Cancels all runs that have not ended. */
  cancelAll(): Promise<void>;
};

/** A database with the job `load` of one step, our queue, and a stranger's pg-boss. */
export async function openBossStage(): Promise<BossStage> {
  const database = await testDatabase();
  const queue = await openQueue(database);
  afterAll(() => queue.close());
  const stranger = await strangersBoss(database);
  const rows: BossStage['rows'] = async (text, values = []) => (await database.execute(text, values)).rows;
  await rows('select lockkeeper.register($1)', [
    JSON.stringify({ job: 'load', version: '1', steps: [{ name: 'only' }], limits: [] }),
  ]);
  const outside = async () =>
    (await rows('select submissions, strays from lockkeeper.todo($1, $2)', [[], queue.schema]))[0];
  const cancelAll = async () => {
    const ids = await rows("select run_id from lockkeeper.runs where state in ('queued', 'admitted')");
    await rows('select lockkeeper.cancel($1)', [ids.map(({ run_id }) => run_id)]);
  };
  return { database, queue, stranger, rows, outside, cancelAll };
}

/** How often pg-boss's tables are scanned by the work, whole and by index, and how many rows that reads. */
export async function scansBy(
  database: Pick<Database, 'pool' | 'schema'>,
  work: (execute: Executor) => Promise<unknown>,
): Promise<{ whole: number; byIndex: number; rows: number }> {
  return transaction(database, async (query) => {
    // What this session did before may not have been counted yet.
    const counts = async () => {
      const { rows } = await query(`select sum(seq_scan) as whole, sum(idx_scan) as by_index,
          sum(seq_tup_read + idx_tup_fetch) as rows
        from pg_stat_xact_user_tables where schemaname = 'pgboss'`);
      return rows[0];
    };
    const before = await counts();
    await work(executor(query));
    const after = await counts();
    const by = (count: string) => Number(after?.[count]) - Number(before?.[count]);
    return { whole: by('whole'), byIndex: by('by_index'), rows: by('rows') };
  });
}
