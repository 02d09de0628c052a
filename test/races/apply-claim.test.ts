/** The configuration changes while somebody claims: what was granted counts, what comes after obeys the new limits. */

import { expect, test } from 'vitest';
import { claimAll, openStage } from '../support/stage.ts';

const stage = await openStage();
const load = await stage.register('load', { copy: { pool: 'warehouse' } });
const warehouse = (limit: number) => ({
  concurrency: { pools: { limits: { warehouse: limit }, op_granularity_run_buffer: 10 } },
});

test('a limit appears while a claim is open: it waits, then counts what was granted', async () => {
  const [lease, other] = [await stage.serve(load), await stage.serve(load)];
  await stage.submit(load, load, load);
  await stage.tick();
  const { first, second, waited } = await stage.race(
    (execute) => stage.through(lease, execute).claim(2),
    (execute) => stage.apply(warehouse(1), execute),
  );
  expect(first.steps).toHaveLength(2);
  expect(waited).toBe(true);
  expect(second).toEqual([{ name: 'pool.warehouse', change: 'added' }]);
  expect(await stage.inUse()).toEqual({ 'pool.warehouse': 2 });
  await stage.tick();
  expect(await claimAll(other)).toEqual([]);
});

test('a limit is lowered to a pause, uncommitted: the claim waits and gets nothing', async () => {
  await stage.apply(warehouse(5));
  const lease = await stage.serve(load);
  await stage.submit(load);
  await stage.tick();
  const { second, waited } = await stage.race(
    (execute) => stage.apply(warehouse(0), execute),
    (execute) => stage.through(lease, execute).claim(1),
  );
  expect(waited).toBe(true);
  expect(second.steps).toEqual([]);
  expect(await claimAll(lease)).toEqual([]);
});

test('a limit is raised while a claim puts the lane to sleep: the lane is woken', async () => {
  await stage.apply(warehouse(0));
  const lease = await stage.serve(load);
  await stage.submit(load);
  await stage.tick();
  await stage.apply(warehouse(1));
  await stage.tick();
  await stage.apply(warehouse(0));
  const { first } = await stage.race(
    (execute) => stage.through(lease, execute).claim(1),
    (execute) => stage.apply(warehouse(1), execute),
  );
  expect(first.steps).toEqual([]);
  await stage.tick();
  expect(await claimAll(lease)).toHaveLength(1);
});
