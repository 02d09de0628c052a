/** What a lease gets is its own, and a reply that is lost or comes in parts loses nothing. */

import { afterEach, expect, test } from 'vitest';
import type { Executor } from '../src/database.ts';
import { Lease } from '../src/leases.ts';
import { claimAll, openStage } from './support/stage.ts';

const stage = await openStage();
const load = await stage.register('load', { copy: {} });
const other = await stage.register('other', { copy: {} });
const wide = (letter: string) =>
  Object.fromEntries(Array.from({ length: 40 }, (_, index) => [`${letter}${index}`, 1]));
const one = await stage.register('one', { copy: { pool: wide('a') } });
const two = await stage.register('two', { copy: { pool: wide('b') } });

afterEach(async () => expect(await stage.rows('select * from lockkeeper.violations')).toEqual([]));

test('each lease gets steps of the jobs that it serves, and no others', async () => {
  const first = await stage.serve(load);
  const second = await stage.serve(other);
  await stage.submit(other, load);
  await stage.tick();
  expect((await first.claim(9)).steps.map(({ job }) => job)).toEqual(['load']);
  expect((await second.claim(9)).steps.map(({ job }) => job)).toEqual(['other']);
});

test('a claim whose reply was lost is made again under its number, and gets that answer', async () => {
  const { id } = await stage.serve(load);
  let lost = 1;
  const losing: Executor = async (text, values) => {
    const reply = await stage.execute(text, values);
    if (lost-- > 0) throw new Error('the connection was lost');
    return reply;
  };
  const lease = new Lease(losing, id);
  const runIds = await stage.submit(load, load);
  await stage.tick();
  await expect(lease.claim(1)).rejects.toThrow('lost');
  expect((await lease.claim(1)).steps.map(({ runId }) => runId)).toEqual([runIds[0]]);
  expect((await lease.claim(1)).steps.map(({ runId }) => runId)).toEqual([runIds[1]]);
});

test('ends of more keys than one call may lock are sent again until all are stored', async () => {
  await stage.apply({ concurrency: { pools: { default_limit: 5 } } });
  const lease = await stage.serve(one, two);
  const runIds = await stage.submit(one, two);
  await stage.tick();
  const steps = await claimAll(lease);
  expect(steps).toHaveLength(2);
  const answers = await lease.finish(steps.map((step) => ({ ...step, outcome: 'succeeded', output: null })));
  expect(answers).toEqual(['accepted', 'accepted']);
  const states = await Promise.all(runIds.map((runId) => stage.stateOf(runId)));
  expect(states).toEqual(['succeeded', 'succeeded']);
});

test('what cancels queued runs only, leaves one alone that was admitted in the meantime', async () => {
  const lease = await stage.serve(load);
  const [runId = ''] = await stage.submit(load);
  await stage.tick();
  expect(await stage.rows('select state from lockkeeper.cancel_queued($1)', [[runId]])).toEqual([
    { state: 'admitted' },
  ]);
  const { steps } = await lease.claim(1);
  await lease.finish(steps.map((step) => ({ ...step, outcome: 'succeeded', output: null })));
  expect(await stage.stateOf(runId)).toBe('succeeded');
});
