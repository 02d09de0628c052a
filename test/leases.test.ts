/** Leases: numbered claims, renewals that name what is held, and what happens when one ends. */

import { expect, test } from 'vitest';
import { InvalidInputError, LeaseEndedError, UnknownJobError } from '../src/errors.ts';
import { Lease } from '../src/leases.ts';
import type { Claimed } from '../src/steps.ts';
import { openStage } from './support/stage.ts';

const stage = await openStage();
const load = await stage.register('load', { copy: { max_losses: 1 } });
const leaseMs = 60_000;

test("a claim's number repeated gets the same answer, an older one nothing", async () => {
  const lease = await stage.serve(load);
  await stage.submit(load, load);
  await stage.tick();
  const { steps } = await lease.claim(1);
  const repeated = new Lease(stage.execute, lease.id, 0n);
  expect((await repeated.claim(1)).steps).toEqual(steps);
  const { steps: next } = await lease.claim(1);
  expect(next).toHaveLength(1);
  expect(next).not.toEqual(steps);
  expect((await new Lease(stage.execute, lease.id, 0n).claim(1)).steps).toEqual([]);
});

test('a lease holds no more than its room', async () => {
  const [{ version } = { version: '' }] = (await stage.rows('select version from lockkeeper.jobs')) as {
    version: string;
  }[];
  const options = { worker: 'small', room: 2, leaseMs, versions: [{ job: 'load', version }] };
  const lease = await Lease.open(stage.execute, options);
  await stage.submit(load, load, load);
  await stage.tick();
  expect((await lease.claim(10)).steps).toHaveLength(2);
  expect((await lease.claim(10)).steps).toEqual([]);
  const [waiting] = await stage.rows('select keys from lockkeeper.waiting');
  expect(waiting?.keys).toEqual(['workers']);
  await lease.close();
});

test.each([
  ['an unknown job', { versions: [{ job: 'nope', version: '1' }] }, UnknownJobError, 'nope'],
  ['an unknown version', { versions: [{ job: 'load', version: 'x' }] }, UnknownJobError, 'load'],
  ['no room', { room: 0 }, InvalidInputError, 'room is 0'],
  ['a lease too short to renew', { leaseMs: 1 }, InvalidInputError, 'lease_ms is 1'],
  ['no name', { worker: '' }, InvalidInputError, 'worker is empty'],
])('with %s none is opened', async (_, wrong, type, text) => {
  const opened = Lease.open(stage.execute, { worker: 'w', room: 1, leaseMs, versions: [], ...wrong });
  await expect(opened).rejects.toBeInstanceOf(type);
  await expect(opened).rejects.toThrow(text);
  expect(await stage.rows('select * from lockkeeper.workers')).toEqual([]);
});

test('after its end a lease can do nothing', async () => {
  const lease = await stage.serve(load);
  const [runId] = (await stage.submit(load)) as [string];
  await stage.tick();
  const [held] = (await lease.claim(1)).steps as [Claimed];
  await lease.close();
  await lease.close();
  await expect(lease.claim(1)).rejects.toBeInstanceOf(LeaseEndedError);
  await expect(lease.renew([held], leaseMs)).rejects.toMatchObject({ code: 'LK005' });
  expect(await lease.finish([{ ...held, outcome: 'succeeded' }])).toEqual(['refused']);
  await stage.tick();
  expect(await stage.stateOf(runId)).toBe('running');
  expect(await stage.stepsOf(runId)).toEqual({ copy: 'ready' });
});

test('a renewal answers what must be aborted', async () => {
  const lease = await stage.serve(load);
  const [a, b, c] = (await stage.submit(load, load, load)) as [string, string, string];
  await stage.tick();
  const { steps } = await lease.claim(3);
  expect(await lease.renew(steps, leaseMs)).toEqual([]);
  await stage.rows('select lockkeeper.cancel($1)', [[a]]);
  await stage.rows('select lockkeeper.cancel($1, true)', [[b]]);
  const aborts = await lease.renew(steps, leaseMs);
  expect(aborts.toSorted((x, y) => Number(x.runId) - Number(y.runId))).toEqual([
    { runId: a, place: 1, attempt: 1, reason: 'canceled' },
    { runId: b, place: 1, attempt: 1, reason: 'lost' },
  ]);
  expect(await stage.stateOf(c)).toBe('running');
});

test('an attempt that two renewals did not name goes back, and does not count', async () => {
  const lease = await stage.serve(load);
  const [runId] = (await stage.submit(load)) as [string];
  await stage.tick();
  const [held] = (await lease.claim(1)).steps as [Claimed];
  await lease.renew([], leaseMs);
  await stage.tick();
  expect(await stage.stepsOf(runId)).toEqual({ copy: 'running' });
  await lease.renew([held], leaseMs);
  await lease.renew([], leaseMs);
  await stage.tick();
  expect(await stage.stepsOf(runId)).toEqual({ copy: 'running' });
  await lease.renew([], leaseMs);
  await stage.tick();
  expect(await stage.stepsOf(runId)).toEqual({ copy: 'ready' });
  const [attempt] = await stage.rows('select outcome from lockkeeper.attempts where run_id = $1', [runId]);
  expect(attempt?.outcome).toBe('returned');
});

test("a lease's id is in no view", async () => {
  const lease = await stage.serve(load);
  await stage.submit(load);
  await stage.tick();
  await lease.claim(1);
  for (const view of ['workers', 'attempts', 'steps', 'slots', 'runs', 'waiting']) {
    expect(JSON.stringify(await stage.rows(`select * from lockkeeper.${view}`))).not.toContain(lease.id);
  }
});
