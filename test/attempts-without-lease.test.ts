/** An attempt without its lease can do nothing: each call, with a lease that has ended, another's, and an older attempt. */

import { afterEach, expect, test } from 'vitest';
import { LeaseEndedError } from '../src/errors.ts';
import type { AttemptRef, Lease } from '../src/leases.ts';
import type { Claimed, Ending } from '../src/steps.ts';
import { claimAll, openStage } from './support/stage.ts';

const stage = await openStage();
await stage.rows('select lockkeeper.stop_clock()');
await stage.tick();
const load = await stage.register('load', { copy: { pool: 'warehouse', max_attempts: 2 } });

const endings = ({ runId, place, attempt }: AttemptRef): Ending[] => [
  { runId, place, attempt, outcome: 'succeeded', output: 'mine' },
  { runId, place, attempt, outcome: 'failed', error: { name: 'Error', message: 'mine' } },
  { runId, place, attempt, outcome: 'returned' },
];

/** A lease that runs one step of a new run. */
async function running(): Promise<{ lease: Lease; held: Claimed }> {
  await stage.apply({ concurrency: { pools: { limits: { warehouse: 1 } } } });
  const lease = await stage.serve(load);
  await stage.submit(load);
  await stage.tick();
  const [held] = (await claimAll(lease)) as [Claimed];
  return { lease, held };
}

/** All that can be seen of the step, its slots, and what was answered for it. */
const seen = async ({ runId }: AttemptRef) => ({
  steps: await stage.rows('select state, attempts, output, error from lockkeeper.steps where run_id = $1', [
    runId,
  ]),
  slots: await stage.rows('select key, amount from lockkeeper.slots where run_id = $1', [runId]),
  attempts: await stage.rows('select attempt, outcome from lockkeeper.attempts where run_id = $1', [runId]),
});

async function expectRefused(lease: Lease, ref: AttemptRef): Promise<void> {
  const before = await seen(ref);
  for (const ending of endings(ref)) expect(await lease.finish([ending])).toEqual(['refused']);
  expect(await seen(ref)).toEqual(before);
}

/** Ends the lease as time does; that its slots are not yet released makes no difference. */
async function runOut(seconds = 60.001): Promise<void> {
  await stage.rows('select lockkeeper.advance_clock($1)', [seconds]);
  expect((await stage.rows('select lockkeeper.reap() as leases'))[0]?.leases).toBeGreaterThan(0);
}

afterEach(async () => expect(await stage.rows('select * from lockkeeper.violations')).toEqual([]));

test('under a lease that has ended nothing is finished, renewed or claimed, before the sweep and after it', async () => {
  const { lease, held } = await running();
  await runOut();
  const attempts = async () => {
    await expectRefused(lease, held);
    await expect(lease.renew([held], 60_000)).rejects.toBeInstanceOf(LeaseEndedError);
    await expect(lease.claim(1)).rejects.toBeInstanceOf(LeaseEndedError);
  };
  await attempts();
  expect(await stage.inUse()).toMatchObject({ 'pool.warehouse': 1 });
  await stage.tick();
  expect(await stage.stepsOf(held.runId)).toEqual({ copy: 'ready' });
  await attempts();
  expect(await stage.inUse()).not.toHaveProperty('pool.warehouse');
});

test('a lease that was closed is one that has ended', async () => {
  const { lease, held } = await running();
  await lease.close();
  await expectRefused(lease, held);
  await expect(lease.renew([held], 60_000)).rejects.toBeInstanceOf(LeaseEndedError);
  await expect(lease.claim(1)).rejects.toBeInstanceOf(LeaseEndedError);
});

test("another's lease ends nothing, and is told to abort what it names", async () => {
  const { lease, held } = await running();
  const other = await stage.serve(load);
  await expectRefused(other, held);
  expect(await other.renew([held], 60_000)).toEqual([
    { runId: held.runId, place: held.place, attempt: held.attempt, reason: 'lost' },
  ]);
  // Named by another, it is not named by its own: nor does the other keep it alive.
  expect(await lease.renew([held], 60_000)).toEqual([]);
  expect((await other.claim(1)).steps).toEqual([]);
  expect(await lease.finish([endings(held)[0] as Ending])).toEqual(['accepted']);
});

test('an older attempt of the same lease ends nothing of the newer one', async () => {
  const { lease, held } = await running();
  await lease.finish([endings(held)[1] as Ending]);
  const [again] = (await claimAll(lease)) as [Claimed];
  expect(again).toMatchObject({ runId: held.runId, attempt: 2 });
  expect(again.fencingToken).toBeGreaterThan(held.fencingToken);
  const before = await seen(held);
  // What ended it is answered as the repeat that it looks like, and changes nothing.
  for (const ending of endings(held)) expect(await lease.finish([ending])).toEqual(['already']);
  expect(await seen(held)).toEqual(before);
  expect(await lease.renew([held, again], 60_000)).toEqual([
    { runId: held.runId, place: held.place, attempt: 1, reason: 'lost' },
  ]);
  expect(await lease.finish([endings(again)[0] as Ending])).toEqual(['accepted']);
  expect(await stage.stateOf(held.runId)).toBe('succeeded');
});

test('an attempt that its lease returned, or that there never was, ends nothing', async () => {
  const { lease, held } = await running();
  await lease.finish([endings(held)[2] as Ending]);
  const [again] = (await claimAll(lease)) as [Claimed];
  await expectRefused(lease, { ...again, attempt: again.attempt + 1 });
  await expectRefused(lease, { ...again, place: 2 });
  expect(await lease.finish([endings(again)[0] as Ending])).toEqual(['accepted']);
});
