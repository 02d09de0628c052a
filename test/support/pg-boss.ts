/** A pg-boss that knows nothing of Lockkeeper, as somebody else's program has it, on the same database. */

import { PgBoss } from 'pg-boss';
import { afterAll } from 'vitest';
import type { Database } from '../../src/database.ts';
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
  const cancelAll = async () => {
    const ids = await rows("select run_id from lockkeeper.runs where state in ('queued', 'admitted')");
    await rows('select lockkeeper.cancel($1)', [ids.map(({ run_id }) => run_id)]);
  };
  return { database, queue, stranger, rows, cancelAll };
}
