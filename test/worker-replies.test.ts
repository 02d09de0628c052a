/** A worker whose database fails for a moment: nothing that has ended is lost, or given to others meanwhile. */

import { afterAll, expect, test } from 'vitest';
import { coordinate } from '../src/coordinator/tick.ts';
import type { Database } from '../src/database.ts';
import { job } from '../src/jobs.ts';
import { openQueue } from '../src/queue/boss.ts';
import { submitRuns } from '../src/runs.ts';
import { Worker } from '../src/worker/worker.ts';
import { block } from './support/block.ts';
import { testDatabase } from './support/database.ts';
import { keepingLog } from './support/log.ts';

const database = await testDatabase();
const queue = await openQueue(database);
afterAll(() => queue.close());

let away = '';
let lost = '';
let wide = false;
/** The database, but while `away` names a function calls of it fail, while `lost` does answers are lost, and while `wide` claims of several steps are too large. */
const failing: Database = {
  ...database,
  execute: async (text, values) => {
    if (away !== '' && text.includes(away)) throw new Error('the database is away');
    if (wide && text.includes('lockkeeper.exchange') && Number(values[3]) > 1)
      throw Object.assign(new Error('too large'), { code: '54000' });
    const reply = await database.execute(text, values);
    if (lost !== '' && text.includes(lost)) throw new Error('the answer is lost');
    return reply;
  },
};

let started = 0;
const load = job('load', () => {
  started += 1;
});

/** A worker by hand, and a run whose step is ready. */
async function working(leaseMs: number): Promise<{ worker: Worker; runId: string | undefined }> {
  started = 0;
  const log = keepingLog();
  const jobs = new Map([[load.name, load]]);
  const worker = new Worker({ database: failing, log, jobs, leaseMs, onProgress: () => undefined });
  await worker.open();
  const [run] = await submitRuns(queue, database.execute, [{ job: 'load' }]);
  await coordinate(database, queue);
  return { worker, runId: run?.runId };
}

const outcomes = async (runId: string | undefined) => {
  const { rows } = await database.execute(
    'select outcome from lockkeeper.attempts where run_id = $1 order by attempt',
    [runId],
  );
  return rows.map(({ outcome }) => outcome);
};

test('an outcome that could not be stored is stored by the next tick; until then the step is held', async () => {
  const { worker, runId } = await working(60_000);
  await worker.tick();
  expect(worker.running).toBe(1);
  away = 'lockkeeper.exchange';
  const untilItFails = async () => {
    for (;;) await worker.tick();
  };
  await expect(untilItFails()).rejects.toThrow('away');
  expect(worker.running).toBe(1);
  away = '';
  await worker.tick();
  expect(worker.running).toBe(0);
  expect(await outcomes(runId)).toEqual(['succeeded']);
  await worker.stop();
});

test('of a claim whose answer was lost, the repeat is as late as the first: its steps are handed back unstarted', async () => {
  const { worker, runId } = await working(1_500);
  lost = 'lockkeeper.exchange';
  await expect(worker.tick()).rejects.toThrow('lost');
  lost = '';
  block(600);
  while (!(await outcomes(runId)).includes('succeeded')) await worker.tick();
  expect((await outcomes(runId))[0]).toBe('returned');
  expect(started).toBe(1);
  await worker.stop();
});

test('steps whose answer would be too large come one by one', async () => {
  const { worker, runId } = await working(60_000);
  wide = true;
  await expect(worker.tick()).rejects.toThrow('too large');
  while (!(await outcomes(runId)).includes('succeeded')) await worker.tick();
  wide = false;
  await worker.stop();
});
