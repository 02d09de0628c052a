/** Sweep and reap, on a clock that stands still: what ends exactly when. */

import { afterEach, expect, test } from 'vitest';
import type { Claimed } from '../src/steps.ts';
import { claimAll, openStage } from './support/stage.ts';

const stage = await openStage();
await stage.rows('select lockkeeper.stop_clock()');
const load = await stage.register('load', { copy: { timeout: 10, max_losses: 9 } });
const advance = (seconds: number) => stage.rows('select lockkeeper.advance_clock($1)', [seconds]);
const sweep = async () => (await stage.rows('select ended from lockkeeper.sweep()'))[0]?.ended;
const reap = async () => (await stage.rows('select lockkeeper.reap() as leases'))[0]?.leases;
const outcomes = async (runId: string) =>
  (await stage.rows('select outcome from lockkeeper.attempts where run_id = $1', [runId])).map(
    ({ outcome }) => outcome,
  );

async function running(): Promise<{ held: Claimed; close: () => Promise<void>; runId: string }> {
  const lease = await stage.serve(load);
  const [runId = ''] = await stage.submit(load);
  await stage.tick();
  const [held] = (await claimAll(lease)) as [Claimed];
  return { held, runId, close: () => lease.close() };
}

afterEach(async () => expect(await stage.rows('select * from lockkeeper.violations')).toEqual([]));

test('a step may use its time to the full', async () => {
  const { runId } = await running();
  await advance(10);
  expect(await sweep()).toBe(0);
  await advance(0.001);
  expect(await sweep()).toBe(1);
  expect(await outcomes(runId)).toEqual(['timed_out']);
  expect(await stage.stateOf(runId)).toBe('failed');
});

test('what timed out before its worker was lost has timed out: it is not forgiven', async () => {
  const { runId, close } = await running();
  await advance(11);
  await close();
  expect(await sweep()).toBe(1);
  expect(await outcomes(runId)).toEqual(['timed_out']);
  expect(await stage.stateOf(runId)).toBe('failed');
});

test('a lease counts to its very end', async () => {
  await stage.serve(load);
  await advance(60);
  expect(await reap()).toBe(0);
  await advance(0.001);
  expect(await reap()).toBe(1);
});

test('nothing is reaped within a lease of the moment from which the server could be reached', async () => {
  await stage.serve(load);
  await advance(59);
  // As after a promotion: the timeline is another.
  await stage.rows("update lockkeeper_data.server set timeline = 'another'");
  expect(await reap()).toBe(0);
  await advance(60);
  expect(await reap()).toBe(0);
  await advance(0.001);
  expect(await reap()).toBe(1);
});
