/** A slot is given back while somebody claims it: it is neither lost nor given twice, and nobody sleeps beside it. */

import { beforeEach, expect, test } from 'vitest';
import type { Lease } from '../../src/leases.ts';
import { cancelRuns } from '../../src/runs.ts';
import type { Claimed } from '../../src/steps.ts';
import { claimAll, openStage } from '../support/stage.ts';

const stage = await openStage();
const load = await stage.register('load', { copy: { pool: 'warehouse' } });
const report = await stage.register('report', { query: { pool: 'warehouse' } });

let a: Lease;
let b: Lease;
let held: Claimed;
beforeEach(async () => {
  await stage.apply({ concurrency: { pools: { limits: { warehouse: 1 }, op_granularity_run_buffer: 10 } } });
  [a, b] = [await stage.serve(load), await stage.serve(report)];
  await stage.submit(load);
  await stage.tick();
  [held] = (await a.claim(1)).steps as [Claimed];
  await stage.submit(report);
  await stage.tick();
});

test('a claim that saw the pool full has not committed when the slot comes back', async () => {
  const { first, second, waited } = await stage.race(
    (execute) => stage.through(b, execute).claim(10),
    (execute) => stage.through(a, execute).finish([{ ...held, outcome: 'succeeded' }]),
  );
  expect(first.steps).toEqual([]);
  expect(second).toEqual(['accepted']);
  expect(waited).toBe(true);
  expect(await claimAll(b)).toHaveLength(1);
});

test('the same, when it comes back because its run is canceled', async () => {
  const { first, waited } = await stage.race(
    (execute) => stage.through(b, execute).claim(10),
    (execute) => cancelRuns(execute, [held.runId], true),
  );
  expect(first.steps).toEqual([]);
  expect(waited).toBe(true);
  expect(await claimAll(b)).toHaveLength(1);
});

test('a finish that gives the slot back has not committed when the next claim looks', async () => {
  const { first, second } = await stage.race(
    (execute) => stage.through(a, execute).finish([{ ...held, outcome: 'succeeded' }]),
    (execute) => stage.through(b, execute).claim(10),
  );
  expect(first).toEqual(['accepted']);
  expect([...second.steps, ...(await claimAll(b))]).toHaveLength(1);
  expect(await stage.inUse()).toEqual({ 'pool.warehouse': 1 });
});

test('the same, when the waiting lane sleeps already', async () => {
  expect(await claimAll(b)).toEqual([]);
  const { second } = await stage.race(
    (execute) => stage.through(a, execute).finish([{ ...held, outcome: 'succeeded' }]),
    (execute) => stage.through(b, execute).claim(10),
  );
  expect([...second.steps, ...(await claimAll(b))]).toHaveLength(1);
});

test('an attempt is finished twice at once: both calls are told that it is done', async () => {
  const { first, second, waited } = await stage.race(
    (execute) => stage.through(a, execute).finish([{ ...held, outcome: 'succeeded' }]),
    (execute) => stage.through(a, execute).finish([{ ...held, outcome: 'succeeded' }]),
  );
  expect([first, second, waited]).toEqual([['accepted'], ['already'], true]);
});
