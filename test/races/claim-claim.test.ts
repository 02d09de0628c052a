/** Two workers claim the last slot at the same time: one gets it. */

import { expect, test } from 'vitest';
import { claimAll, openStage } from '../support/stage.ts';

const stage = await openStage();
const load = await stage.register('load', { copy: { pool: 'warehouse' } });
const report = await stage.register('report', { query: { pool: 'warehouse' } });
const oneSlot = { concurrency: { pools: { limits: { warehouse: 1 }, op_granularity_run_buffer: 10 } } };

test('of steps in one lane', async () => {
  await stage.apply(oneSlot);
  const [a, b] = [await stage.serve(load), await stage.serve(load)];
  await stage.submit(load, load);
  await stage.tick();
  const { first, second, waited } = await stage.race(
    (execute) => stage.through(a, execute).claim(10),
    (execute) => stage.through(b, execute).claim(10),
  );
  expect([first.steps.length, second.steps.length]).toEqual([1, 0]);
  expect(waited).toBe(true);
  expect(await stage.inUse()).toEqual({ 'pool.warehouse': 1 });
});

test('of steps in different lanes, which only the key brings together', async () => {
  await stage.apply(oneSlot);
  const [a, b] = [await stage.serve(load), await stage.serve(report)];
  await stage.submit(load, report);
  await stage.tick();
  const { first, second, waited } = await stage.race(
    (execute) => stage.through(a, execute).claim(10),
    (execute) => stage.through(b, execute).claim(10),
  );
  expect([first.steps.length, second.steps.length]).toEqual([1, 0]);
  expect(waited).toBe(true);

  const [held] = first.steps;
  if (!held) throw new Error('nothing was claimed');
  expect(await a.finish([{ ...held, outcome: 'succeeded' }])).toEqual(['accepted']);
  expect(await claimAll(b)).toHaveLength(1);
});

test('with keys that have nothing in common, neither waits', async () => {
  const api = await stage.register('api', { call: { pool: 'api' } });
  await stage.apply({
    concurrency: { pools: { limits: { warehouse: 1, api: 1 }, op_granularity_run_buffer: 10 } },
  });
  const [a, b] = [await stage.serve(load), await stage.serve(api)];
  await stage.submit(load, api);
  await stage.tick();
  const { first, second, waited } = await stage.race(
    (execute) => stage.through(a, execute).claim(10),
    (execute) => stage.through(b, execute).claim(10),
  );
  expect([first.steps.length, second.steps.length]).toEqual([1, 1]);
  expect(waited).toBe(false);
});
