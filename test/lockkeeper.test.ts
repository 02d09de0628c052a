/** `createLockkeeper`: the product as a program uses it, on the real clock. */

import { afterAll, afterEach, expect, expectTypeOf, test } from 'vitest';
import { z } from 'zod';
import {
  createLockkeeper,
  type ExecutorSource,
  InvalidInputError,
  job,
  ProblemsError,
} from '../src/index.ts';
import { testDatabase } from './support/database.ts';
import { keepingLog } from './support/log.ts';

const database = await testDatabase();
const load = job('load', { input: z.object({ file: z.string(), rows: z.coerce.number().default(2) }) })
  .step('extract', ({ input }) => ({ file: input.file, rows: input.rows }))
  .step('copy', { after: ['extract'], pool: 'warehouse' }, ({ outputs }) => outputs.extract.rows * 10);
const broken = job('broken', () => {
  throw new Error('no such file');
});
const log = keepingLog();
const lockkeeper = await createLockkeeper({
  connectionString: database.connectionString,
  jobs: [load, broken],
  log,
});
await lockkeeper.register();
afterAll(() => lockkeeper.close());
afterEach(async () => {
  const { rows } = await database.execute('select run_id from lockkeeper.runs where ended_at is null', []);
  for (const { run_id } of rows) await lockkeeper.cancel(String(run_id), { force: true });
});

const count = async (text: string) => Number((await database.execute(text, [])).rows[0]?.n);
const runs = () => count('select count(*) as n from lockkeeper.runs');
const tickets = () => count("select count(*) as n from pgboss.job where name = 'lockkeeper.runs'");

test('a run goes through its steps, and its outputs have the types that they returned', async () => {
  await lockkeeper.applyConfig({ concurrency: { pools: { limits: { warehouse: 1 } } } });
  const working = await lockkeeper.work({ name: 'w1' });
  const result = await lockkeeper.run(load, { file: 'a.csv' });
  expect(result).toMatchObject({
    state: 'succeeded',
    outputs: { extract: { file: 'a.csv', rows: 2 }, copy: 20 },
  });
  expectTypeOf(result.outputs.copy).toEqualTypeOf<number | undefined>();
  expectTypeOf(result.outputs.extract).toEqualTypeOf<{ file: string; rows: number } | undefined>();

  const failed = await lockkeeper.run(broken);
  expect(failed).toMatchObject({ state: 'failed', errors: { run: { message: 'no such file' } } });
  await working.stop();
});

test('of many runs, all end', async () => {
  const working = await lockkeeper.work();
  const submitted = await lockkeeper.submitMany(
    Array.from({ length: 40 }, (_, i) => ({ job: 'load', input: { file: `${i}.csv` } })),
  );
  const results = await Promise.all(submitted.map(({ runId }) => lockkeeper.result(runId)));
  expect(new Set(results.map(({ state }) => state))).toEqual(new Set(['succeeded']));
  await working.stop();
});

/** Ways in which a program may hold a transaction open: each calls `work` in one, then rolls back or commits. */
const transactions: Record<string, (work: (within: ExecutorSource) => Promise<void>) => Promise<void>> = {
  pg: async (work) => {
    const client = await database.pool.connect();
    try {
      await client.query('begin');
      await work(client);
      await client.query('commit');
    } catch (error) {
      await client.query('rollback');
      throw error;
    } finally {
      client.release();
    }
  },
  Kysely: (work) => database.db.transaction().execute(work),
  "pg-boss's executeSql": (work) =>
    transactions.pg?.((client) =>
      work({ executeSql: (text, values) => (client as { query: Query }).query(text, values) }),
    ) as Promise<void>,
  'a function': (work) =>
    transactions.pg?.((client) =>
      work((text: string, values: unknown[]) => (client as { query: Query }).query(text, values)),
    ) as Promise<void>,
};
type Query = (text: string, values: unknown[]) => Promise<{ rows: Record<string, unknown>[] }>;

test.each(Object.keys(transactions))("submit joins the caller's transaction: %s", async (kind) => {
  const within = transactions[kind] as (typeof transactions)[string];
  const before = [await runs(), await tickets()];
  const rolledBack = within(async (query) => {
    await lockkeeper.submit(load, { file: 'a.csv' }, { within: query });
    throw new Error('changed my mind');
  });
  await expect(rolledBack).rejects.toThrow('changed my mind');
  expect([await runs(), await tickets()]).toEqual(before);

  let runId = '';
  await within(async (query) => {
    ({ runId } = await lockkeeper.submit(load, { file: 'a.csv' }, { within: query }));
    expect(await runs()).toBe(before[0]);
  });
  expect([await runs(), await tickets()]).toEqual(before.map((n) => Number(n) + 1));
  expect(await lockkeeper.cancel(runId)).toBe('canceled');
});

test('a key makes one run', async () => {
  const first = await lockkeeper.submit(load, { file: 'a.csv' }, { key: 'a.csv' });
  const second = await lockkeeper.submit(load, { file: 'a.csv' }, { key: 'a.csv' });
  expect([first.created, second.created, second.runId]).toEqual([true, false, first.runId]);
});

test('an input that the schema refuses is not submitted; the error names the field', async () => {
  const before = await runs();
  const wrong = { file: 5 } as unknown as { file: string };
  await expect(lockkeeper.submit(load, wrong)).rejects.toBeInstanceOf(ProblemsError);
  await expect(lockkeeper.submit(load, wrong)).rejects.toThrow('input.file');
  const good = { job: 'load', input: { file: 'a.csv' } };
  await expect(lockkeeper.submitMany([good, { job: 'load', input: wrong }])).rejects.toThrow('input.file');
  await expect(lockkeeper.submitMany([good, { job: 'lode' }])).rejects.toMatchObject({ code: 'LK003' });
  await expect(lockkeeper.submit(load, { file: 'a.csv' }, { deployment: 'nowhere' })).rejects.toMatchObject({
    code: 'LK004',
  });
  expect(await runs()).toBe(before);
});

test('why tells what a run waits for', async () => {
  const { runId } = await lockkeeper.submit(load, { file: 'a.csv' });
  expect(await lockkeeper.why(runId)).toMatchObject([{ key: 'workers', step: null }]);
});

test('waiting for a result ends with its signal', async () => {
  const { runId } = await lockkeeper.submit(load, { file: 'a.csv' });
  const stop = new AbortController();
  const result = lockkeeper.result(runId, { signal: stop.signal });
  stop.abort(new Error('no patience'));
  await expect(result).rejects.toThrow('no patience');
});

test('two jobs of one name are refused', async () => {
  const { connectionString } = database;
  const made = createLockkeeper({ connectionString, jobs: [load, job('load', () => 1)], log });
  await expect(made).rejects.toBeInstanceOf(InvalidInputError);
});
