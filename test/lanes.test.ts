/** Lanes: who comes first, where a lane sleeps, and who wakes whom. */

import { afterEach, describe, expect, test } from 'vitest';
import { readTodo } from '../src/coordinator/tick.ts';
import { transaction } from '../src/database.ts';
import type { AnyJob } from '../src/jobs.ts';
import type { Lease } from '../src/leases.ts';
import { submitRuns } from '../src/runs.ts';
import type { Claimed } from '../src/steps.ts';
import { claimAll, openStage } from './support/stage.ts';

const stage = await openStage();
/** Limits that admission does not look ahead at, so that what is full holds up steps and no runs. */
for (const pool of ['first', 'second']) {
  const limit = { name: `only ${pool}`, counts: 'step', match: { pool }, capacity: 1 };
  await stage.rows('select lockkeeper.set_limit($1)', [JSON.stringify(limit)]);
}
const inBoth = await stage.register('both', { copy: { pool: { first: 1, second: 1 } } });
const inFirst = await stage.register('first', { copy: { pool: 'first', max_attempts: 2 } });
const alsoInFirst = await stage.register('also', { copy: { pool: 'first' } });
const prompt = await stage.register('prompt', { copy: { pool: 'first' } });
const inSecond = await stage.register('second', { copy: { pool: 'second' } });
const nowhere = await stage.register('nowhere', { copy: {} });
const error = { name: 'Error', message: 'failed by the test' };

afterEach(async () => expect(await stage.rows('select * from lockkeeper.violations')).toEqual([]));

const claimed = async (lease: Lease) => (await claimAll(lease)).map(({ runId }) => runId);
const ends = (lease: Lease, step: Claimed | undefined) =>
  lease.finish([{ ...(step as Claimed), outcome: 'succeeded', output: null }]);

/** One run holds the first pool; the others are ready and sleep there. */
async function behind(lease: Lease, ...jobs: AnyJob[]): Promise<{ held: Claimed; runIds: string[] }> {
  const [first, ...runIds] = await stage.submit(alsoInFirst, ...jobs);
  await stage.tick();
  const [held] = (await claimAll(lease)) as [Claimed];
  expect(held.runId).toBe(first);
  return { held, runIds };
}

test('a step that may be tried again comes before younger runs, though its lane sleeps for one of these', async () => {
  const lease = await stage.serve(inFirst, alsoInFirst);
  const { held, runIds } = await behind(lease, inFirst, alsoInFirst, inFirst);
  await ends(lease, held);
  const [again] = (await claimAll(lease)) as [Claimed];
  expect(again.runId).toBe(runIds[0]);
  await lease.finish([{ ...again, outcome: 'failed', error }]);
  expect(await claimed(lease)).toEqual([runIds[0]]);
});

test('of one run, what was never tried comes before what has failed', async () => {
  const two = await stage.register('two', {
    one: { pool: 'first', max_attempts: 2 },
    two: { pool: 'first' },
  });
  const lease = await stage.serve(two);
  await stage.submit(two);
  await stage.tick();
  const [one] = (await claimAll(lease)) as [Claimed];
  await lease.finish([{ ...one, outcome: 'failed', error }]);
  expect(await claimAll(lease)).toMatchObject([{ step: 'two' }]);
});

/** Who is woken first is stopped by another full pool. */
async function wokenForNothing(lease: Lease, ...jobs: AnyJob[]): Promise<string[]> {
  const { held, runIds } = await behind(lease, inBoth, ...jobs);
  await stage.submit(inSecond);
  await stage.tick();
  expect(await claimAll(lease)).toMatchObject([{ job: 'second' }]);
  await ends(lease, held);
  return runIds;
}

test('who is woken and cannot start wakes the next', async () => {
  const lease = await stage.serve(inBoth, inFirst, inSecond, alsoInFirst);
  const [, next] = await wokenForNothing(lease, inFirst);
  expect(await claimed(lease)).toEqual([next]);
});

test('nobody passes one that sleeps beside the same room', async () => {
  const lease = await stage.serve(inBoth, inFirst, inSecond, alsoInFirst, prompt);
  const [, next] = await wokenForNothing(lease, inFirst);
  // Its lane is open from its birth.
  await stage.submit(prompt);
  await stage.tick();
  expect(await claimed(lease)).toEqual([next]);
});

test('a worker with room takes over what only a busy worker would pass on', async () => {
  const busy = await stage.serve(inFirst);
  const lease = await stage.serve(alsoInFirst);
  const { held, runIds } = await behind(lease, inFirst, alsoInFirst);
  expect(await claimed(busy)).toEqual([]);
  await ends(lease, held);
  expect(await claimed(lease)).toEqual([runIds[1]]);
});

test('of several long lanes, the oldest runs start first, however many are asked for', async () => {
  const others = await Promise.all(['x', 'y'].map((name) => stage.register(name, { copy: {} })));
  const lease = await stage.serve(nowhere, ...others);
  const runIds = await stage.submit(...Array.from({ length: 10 }, () => nowhere), ...others, ...others);
  await stage.tick();
  const steps = [...(await claimAll(lease, 12)), ...(await claimAll(lease, 12))];
  const started = steps.toSorted((a, b) => a.fencingToken - b.fencingToken).map(({ runId }) => runId);
  expect(started).toEqual(runIds);
});

test('when all has ended, no lane is left for a tick to look at', async () => {
  const lease = await stage.serve(nowhere);
  await stage.submit(nowhere, nowhere);
  await stage.tick();
  for (const step of await claimAll(lease)) await ends(lease, step);
  await stage.tick();
  await claimAll(lease);
  // Nobody keeps where passes are made by hand.
  const { keep, ...todo } = await readTodo(stage.execute, stage.queue);
  expect([keep, Object.values(todo).includes(true)]).toEqual([true, false]);
  expect(await stage.rows('select * from lockkeeper_data.lanes')).toEqual([]);
});

test('one call locks no more keys than its batch may, however many lanes there are', async () => {
  await stage.cutAt(64);
  await stage.apply({ concurrency: { executor: { max_concurrent: 1 } } });
  const lease = await stage.serve(nowhere);
  await stage.submit(...Array.from({ length: 90 }, () => nowhere));
  await stage.tick();
  const locks = await transaction(stage.database, async (query) => {
    await query('select lockkeeper.claim($1, 1, 100)', [lease.id]);
    const { rows } = await query(
      "select count(*) from pg_locks where locktype = 'advisory' and pid = pg_backend_pid()",
    );
    return Number(rows[0]?.count);
  });
  // The keys, and the lock of the configuration.
  expect(locks).toBeGreaterThan(50);
  expect(locks).toBeLessThanOrEqual(65);
});

describe('what arrives behind a full key', () => {
  const gated = (customer: string) => ({ job: nowhere.name, tags: { gate: 'shut', customer } });
  const limits = (gate: number) => ({
    concurrency: {
      runs: {
        tag_concurrency_limits: [
          { key: 'gate', limit: gate },
          { key: 'customer', value: { applyLimitPerUniqueValue: true }, limit: 5 },
        ],
      },
    },
  });

  test('sleeps at once, and no tick looks at it', async () => {
    await stage.apply(limits(0));
    await stage.serve(nowhere);
    await stage.tick(); // Lanes of the limits before are gone.
    await submitRuns(
      stage.queue,
      stage.execute,
      Array.from({ length: 40 }, (_, i) => gated(`c${i}`)),
    );
    await stage.rows('select * from lockkeeper.lane()');
    expect(await stage.rows('select lane, admit from lockkeeper.todo()')).toEqual([
      { lane: false, admit: false },
    ]);
    expect(await stage.rows('select * from lockkeeper_data.open_lanes')).toEqual([]);
    expect(await stage.rows('select * from lockkeeper.violations')).toEqual([]);
    await stage.apply(limits(3));
    expect((await stage.tick()).admitted).toHaveLength(3);
  });

  test('is admitted if the key gets room in this very moment', async () => {
    await stage.apply(limits(1));
    const lease = await stage.serve(nowhere);
    await submitRuns(stage.queue, stage.execute, [gated('a')]);
    await stage.tick();
    const [step] = await claimAll(lease);
    const [late] = await submitRuns(stage.queue, stage.execute, [gated('b')]);
    const { waited } = await stage.race(
      (execute) => ends(stage.through(lease, execute), step as Claimed),
      (execute) => execute('select * from lockkeeper.lane()', []),
    );
    expect(waited).toBe(true);
    expect((await stage.tick()).admitted).toEqual([late?.runId]);
    expect(await stage.rows('select * from lockkeeper.violations')).toEqual([]);
  });
});
