/** A run is canceled while a step of it fails and would be tried again: it is not tried again. */

import { beforeEach, expect, test } from 'vitest';
import type { Lease } from '../../src/leases.ts';
import { cancelRuns } from '../../src/runs.ts';
import type { Claimed, Ending } from '../../src/steps.ts';
import { claimAll, openStage } from '../support/stage.ts';

const stage = await openStage();
const load = await stage.register('load', { copy: { pool: 'warehouse', max_attempts: 3 } });

let lease: Lease;
let runId: string;
let failed: Ending;
beforeEach(async () => {
  await stage.apply({ concurrency: { pools: { limits: { warehouse: 1 } } } });
  lease = await stage.serve(load);
  [runId] = (await stage.submit(load)) as [string];
  await stage.tick();
  const [held] = (await lease.claim(1)).steps as [Claimed];
  failed = { ...held, outcome: 'failed', error: { name: 'Error', message: 'no' } };
});

test('cancel comes second: it finds the step ready again', async () => {
  const { first, second, waited } = await stage.race(
    (execute) => stage.through(lease, execute).finish([failed]),
    (execute) => cancelRuns(execute, [runId], false),
  );
  expect(first).toEqual(['accepted']);
  expect(second.get(runId)).toBe('canceled');
  expect(waited).toBe(true);
  expect(await stage.stepsOf(runId)).toEqual({ copy: 'canceled' });
  expect(await claimAll(lease)).toEqual([]);
});

test('cancel comes first: the failure ends the run as canceled', async () => {
  const { first, second, waited } = await stage.race(
    (execute) => cancelRuns(execute, [runId], false),
    (execute) => stage.through(lease, execute).finish([failed]),
  );
  expect(first.get(runId)).toBe('running');
  expect(second).toEqual(['accepted']);
  expect(waited).toBe(true);
  expect([await stage.stateOf(runId), await stage.stepsOf(runId)]).toEqual([
    'canceled',
    { copy: 'canceled' },
  ]);
  expect(await stage.inUse()).toEqual({});
});

test('canceled with force: the failure comes late and is refused', async () => {
  const { first, second } = await stage.race(
    (execute) => cancelRuns(execute, [runId], true),
    (execute) => stage.through(lease, execute).finish([failed]),
  );
  expect(first.get(runId)).toBe('canceled');
  expect(second).toEqual(['refused']);
  expect(await stage.inUse()).toEqual({});
});

test('the step that was tried again is claimed while its run is canceled: it runs, and ends canceled', async () => {
  await lease.finish([failed]);
  const { first, second, waited } = await stage.race(
    (execute) => stage.through(lease, execute).claim(1),
    (execute) => cancelRuns(execute, [runId], false),
  );
  expect(first.steps).toHaveLength(1);
  expect(waited).toBe(true);
  expect(second.get(runId)).toBe('running');
  const [held] = first.steps as [Claimed];
  expect(await lease.finish([{ ...held, outcome: 'succeeded' }])).toEqual(['accepted']);
  expect(await stage.stateOf(runId)).toBe('canceled');
});
