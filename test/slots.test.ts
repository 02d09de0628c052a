/** Slots: who holds what, why somebody waits, and that a wrong count is seen. */

import { expect, test } from 'vitest';
import { why } from '../src/slots.ts';
import { openStage } from './support/stage.ts';

const stage = await openStage();
const load = await stage.register('load', { copy: { pool: { warehouse: 2 } } });
const warehouse = (limit: number) => ({
  concurrency: {
    runs: { max_concurrent_runs: 2 },
    pools: { limits: { warehouse: limit }, op_granularity_run_buffer: 9 },
  },
});

test('a run holds its slots from admission, a step while it runs', async () => {
  await stage.apply(warehouse(2));
  const lease = await stage.serve(load);
  const [runId] = (await stage.submit(load)) as [string];
  await stage.tick();
  const held = () =>
    stage.rows('select key, run_id, step, amount, worker from lockkeeper.slots order by key');
  expect(await held()).toEqual([
    { key: 'runs{default}', run_id: runId, step: null, amount: 1, worker: null },
  ]);
  const { steps } = await lease.claim(1);
  expect(await held()).toEqual([
    { key: 'pool.warehouse', run_id: runId, step: 'copy', amount: 2, worker: 'w' },
    { key: 'runs{default}', run_id: runId, step: null, amount: 1, worker: null },
  ]);
  await lease.finish(steps.map((step) => ({ ...step, outcome: 'succeeded' })));
  expect(await held()).toEqual([]);
});

test('why names every full key, its holders and what would free it', async () => {
  await stage.apply(warehouse(3));
  const lease = await stage.serve(load);
  const [first, second, third] = (await stage.submit(load, load, load)) as [string, string, string];
  await stage.tick();
  await lease.claim(5);
  const [reason, ...none] = await why(stage.execute, second);
  expect(none).toEqual([]);
  expect(reason).toEqual({
    step: 'copy',
    state: 'ready',
    key: 'pool.warehouse',
    inUse: 2,
    capacity: 3,
    amount: 2,
    holders: [
      { run_id: first, job: 'load', step: 'copy', amount: 2, since: expect.any(String), worker: 'w' },
    ],
    sentence: 'pool.warehouse is full: 2 of 3 slots are used. It starts when one of its holders ends.',
  });
  expect(await why(stage.execute, third)).toMatchObject([
    { step: null, state: 'queued', key: 'runs{default}' },
  ]);
  expect(await why(stage.execute, second, 'nothing')).toEqual([]);
  expect(await why(stage.execute, first)).toEqual([]);
});

test('what asks for more than there ever is, is told so', async () => {
  await stage.apply(warehouse(1));
  await stage.serve(load);
  const [runId] = (await stage.submit(load)) as [string];
  await stage.apply(warehouse(2));
  await stage.tick();
  await stage.apply(warehouse(1));
  const [reason] = await why(stage.execute, runId);
  expect(reason?.sentence).toContain('1 slots and this asks for 2 at once');
});

test.each([
  ['update lockkeeper_data.counters set in_use = in_use + 1', 'counter is not its slots'],
  ['delete from lockkeeper_data.slots where place = 0', 'slots are not what live subjects take'],
  ['update lockkeeper_data.runs set steps_left = 0', 'run should have ended'],
  ['delete from lockkeeper_data.attempts', 'running step without attempt'],
])('violations sees what should never be: %s', async (tamper, violation) => {
  await stage.apply(warehouse(2));
  const lease = await stage.serve(load);
  await stage.submit(load);
  await stage.tick();
  await lease.claim(1);
  const client = await stage.database.pool.connect();
  try {
    await client.query('begin');
    await client.query(tamper);
    const { rows } = await client.query('select violation from lockkeeper.violations');
    expect(rows.map((row) => row.violation).join()).toContain(violation);
  } finally {
    await client.query('rollback');
    client.release();
  }
});
