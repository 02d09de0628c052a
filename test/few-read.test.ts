/** A hand-over reads the few that it is about, however many sleep: also where its plans were made when there were none. */

import { afterAll, expect, test } from 'vitest';
import type { Executor } from '../src/database.ts';
import { submitRuns } from '../src/runs.ts';
import { openStage } from './support/stage.ts';

const stage = await openStage();
const load = await stage.register('load', { copy: {} });
const asleep = 1_000;
const most = 300;
/** Runs pass one at a time; the tag makes lanes, and none of its keys is ever full. */
const concurrency = {
  runs: {
    max_concurrent_runs: 1,
    tag_concurrency_limits: [{ key: 'customer', value: { applyLimitPerUniqueValue: true }, limit: 10 }],
  },
};

const client = await stage.database.pool.connect();
const execute: Executor = (text, values) => client.query(text, values);
afterAll(() => client.release());

/** Rows of these tables that the statement reads in this session, whose plans are as they were made. */
async function readBy(text: string): Promise<Record<string, number>> {
  await client.query('begin');
  const counts = `select relname, idx_tup_fetch + seq_tup_read as n from pg_stat_xact_all_tables
    where schemaname = 'lockkeeper_data' and relname in ('lanes', 'open_lanes', 'watches', 'waiting')`;
  const numbers = async () =>
    Object.fromEntries((await client.query(counts)).rows.map(({ relname, n }) => [relname, Number(n)]));
  const before = await numbers();
  await client.query(text);
  const after = await numbers();
  await client.query('commit');
  return Object.fromEntries(
    Object.entries(after)
      .map(([table, n]) => [table, Number(n) - (before[table] ?? 0)] as const)
      .filter(([, n]) => n > most),
  );
}

test('of a thousand that sleep behind one key, the end of a run and the next admission read few', async () => {
  await stage.apply({ concurrency });
  const lease = await stage.serve(load);
  const submit = (from: number, n: number) =>
    submitRuns(
      stage.queue,
      stage.execute,
      Array.from({ length: n }, (_, i) => ({ job: 'load', tags: { customer: `c${from + i}` } })),
    );
  const calls = {
    lane: 'select lockkeeper.lane(1000)',
    admit: 'select lockkeeper.admit(100)',
    exchange: async () => {
      const { rows } = await execute('select run_id, place, attempt from lockkeeper_data.attempts', []);
      const items = rows.map((row) => ({ ...row, outcome: 'succeeded' }));
      const [{ number } = { number: '0' }] = await stage.rows(
        'select coalesce(max(number), 0) + 1 as number from lockkeeper_data.claims',
      );
      return `select lockkeeper.exchange('${lease.id}', '${JSON.stringify(items)}', ${number}, 1)`;
    },
  };
  const handOver = async () => ({
    finish: await readBy(await calls.exchange()),
    admit: await readBy(calls.admit),
    claim: await readBy(await calls.exchange()),
  });
  // All plans are made, with hardly anybody there.
  await submit(0, 3);
  await readBy(calls.lane);
  await readBy(calls.admit);
  await readBy(await calls.exchange());
  await handOver();
  await submit(10, asleep);
  await readBy(calls.lane);
  for (let round = 0; round < 20; round += 1) await readBy(calls.admit);
  expect(await stage.rows('select count(*)::int as n from lockkeeper_data.watches')).toEqual([
    { n: asleep + 1 },
  ]);
  expect(await handOver()).toEqual({ finish: {}, admit: {}, claim: {} });
  await submit(2_000, 1);
  expect(await readBy(calls.lane)).toEqual({});
});
