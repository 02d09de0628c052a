/** An exchange: what ends gives its slots back, what waits for them takes them, and nobody else hears of it. */

import { afterEach, expect, test } from 'vitest';
import { definitionOf, job, register } from '../src/jobs.ts';
import { Lease } from '../src/leases.ts';
import { submitRuns } from '../src/runs.ts';
import type { Claimed, Ending } from '../src/steps.ts';
import type { Wake } from '../src/wake.ts';
import { Worker } from '../src/worker/worker.ts';
import { keepingLog } from './support/log.ts';
import { claimAll, openStage } from './support/stage.ts';

const stage = await openStage();
const load = await stage.register('load', { copy: { pool: 'warehouse' } });
const other = await stage.register('other', { copy: { pool: 'warehouse' } });
const chain = await stage.register('chain', { extract: {}, copy: { after: ['extract'], pool: 'warehouse' } });
const free = await stage.register('free', { copy: {} });
const error = { name: 'Error', message: 'failed by the test' };

afterEach(async () => expect(await stage.rows('select * from lockkeeper.violations')).toEqual([]));

const succeeded = (step: Claimed | undefined): Ending => ({ ...(step as Claimed), outcome: 'succeeded' });
const poolOf = (warehouse: number) =>
  stage.apply({ concurrency: { pools: { limits: { warehouse }, op_granularity_run_buffer: 10 } } });
const open = async () => stage.rows("select lane_id from lockkeeper_data.open_lanes where counts = 'step'");
/** Claims until all that is left sleeps, and no empty lane is open. */
async function hold(lease: Lease): Promise<Claimed[]> {
  const held = await claimAll(lease);
  await claimAll(lease);
  expect(await open()).toEqual([]);
  return held;
}

test('the slot that is given back goes to the next who sleeps there, whose lane is never open', async () => {
  await poolOf(1);
  const lease = await stage.serve(load);
  const runs = await stage.submit(load, load, load);
  await stage.tick();
  const [held] = await hold(lease);
  const exchanged = await lease.exchange([succeeded(held)], 10);
  expect(exchanged).toMatchObject({ answers: ['accepted'], steps: [{ runId: runs[1] }], more: false });
  expect(exchanged.wakes).toEqual(['end']);
  expect(await open()).toEqual([]);
  expect(await stage.inUse()).toEqual({ 'pool.warehouse': 1 });
});

test('what this lease does not serve is opened for others, who are to be woken', async () => {
  await poolOf(1);
  const [lease, others] = [await stage.serve(load), await stage.serve(other)];
  const [, run] = await stage.submit(load, other);
  await stage.tick();
  const [held] = await claimAll(lease);
  await claimAll(others);
  const { steps, wakes } = await lease.exchange([succeeded(held)], 10);
  expect([steps, wakes]).toEqual([[], ['end', 'claim']]);
  expect((await claimAll(others)).map(({ runId }) => runId)).toEqual([run]);
});

test('what there is no room for is left to others, who are to be woken', async () => {
  await poolOf(3);
  const lease = await stage.serve(load);
  await stage.submit(load, load, load);
  await stage.tick();
  const { steps, wakes } = await lease.exchange([], 1);
  expect([steps.length, wakes]).toEqual([1, ['claim']]);
});

test('older steps of other lanes come first, whoever sleeps at what is given back', async () => {
  await poolOf(1);
  const lease = await stage.serve(load, other);
  const runs = await stage.submit(load, other, load, other);
  await stage.tick();
  let [held] = await claimAll(lease);
  const order = [held?.runId];
  for (let left = 3; left > 0; left -= 1) {
    let { steps, more } = await lease.exchange([succeeded(held)], 1);
    while (steps.length === 0 && more) ({ steps, more } = await lease.exchange([], 1));
    [held] = steps;
    order.push(held?.runId);
  }
  expect(order).toEqual(runs);
});

test('the step that comes after is claimed by the exchange that ends the one before it', async () => {
  const lease = await stage.serve(chain);
  await stage.submit(chain);
  await stage.tick();
  const [extract] = await claimAll(lease);
  const { steps } = await lease.exchange([succeeded(extract)], 1);
  expect(steps.map(({ step }) => step)).toEqual(['copy']);
});

test('a run that ends makes room in the queue: a coordinator is to be woken', async () => {
  await stage.apply({ concurrency: { runs: { max_concurrent_runs: 1 } } });
  const lease = await stage.serve(free);
  await stage.submit(free, free);
  await stage.tick();
  const [held] = await claimAll(lease);
  const { wakes } = await lease.exchange([succeeded(held)], 10);
  expect(wakes).toContain('admit');
});

test('without a claim the slot goes to nobody, and whoever sleeps there is woken', async () => {
  await poolOf(1);
  const lease = await stage.serve(load);
  await stage.submit(load, load);
  await stage.tick();
  const [held] = await hold(lease);
  const { answers, steps, wakes } = await lease.exchange([succeeded(held)], 0);
  expect([answers, steps, wakes]).toEqual([['accepted'], [], ['end', 'claim']]);
  expect(await claimAll(lease)).toHaveLength(1);
});

test('repeated, it tells again what it finished and what it claimed', async () => {
  await poolOf(1);
  const lease = await stage.serve(load);
  await stage.submit(load, load);
  await stage.tick();
  const [held] = await hold(lease);
  const items = JSON.stringify([
    { run_id: held?.runId, place: held?.place, attempt: 1, outcome: 'succeeded' },
  ]);
  const call = 'select answers, steps from lockkeeper.exchange($1, $2, $3, 10)';
  const number = String(lease.claims + 1n);
  const [first] = await stage.rows(call, [lease.id, items, number]);
  const [again] = await stage.rows(call, [lease.id, items, number]);
  expect([first?.answers, again?.answers]).toEqual([['accepted'], ['already']]);
  expect(again?.steps).toEqual(first?.steps);
  expect(first?.steps).toHaveLength(1);
});

test('a repeat that finishes more does, and claims nothing besides', async () => {
  await poolOf(2);
  const lease = await stage.serve(load);
  await stage.submit(load, load, load, load);
  await stage.tick();
  const [one, two] = await hold(lease);
  const itemOf = (step: Claimed | undefined) => ({
    run_id: step?.runId,
    place: step?.place,
    attempt: 1,
    outcome: 'succeeded',
  });
  const call = 'select answers, steps from lockkeeper.exchange($1, $2, $3, 10)';
  const number = String(lease.claims + 1n);
  const [first] = await stage.rows(call, [lease.id, JSON.stringify([itemOf(one)]), number]);
  const both = JSON.stringify([itemOf(one), itemOf(two)]);
  const [again] = await stage.rows(call, [lease.id, both, number]);
  expect(again?.answers).toEqual(['already', 'accepted']);
  expect(again?.steps).toEqual(first?.steps);
  expect(await stage.inUse()).toEqual({ 'pool.warehouse': 1 });
});

test('a step that fails and may be tried again is the first of its lane', async () => {
  await poolOf(1);
  const twice = await stage.register('twice', { copy: { pool: 'warehouse', max_attempts: 2 } });
  const lease = await stage.serve(twice);
  const [run] = await stage.submit(twice);
  await stage.tick();
  const [held] = await claimAll(lease);
  const { steps } = await lease.exchange([{ ...(held as Claimed), outcome: 'failed', error }], 10);
  expect(steps.map(({ runId, attempt }) => [runId, attempt])).toEqual([[run, 2]]);
});

test('under a lease that has ended nothing is done', async () => {
  const lease = await stage.serve(load);
  const [run] = await stage.submit(load);
  await stage.tick();
  const [held] = await claimAll(lease);
  await lease.close();
  await expect(lease.exchange([succeeded(held)], 1)).rejects.toThrow('lease');
  expect(await stage.stepsOf(String(run))).toEqual({ copy: 'running' });
  await stage.tick();
  expect(await stage.stepsOf(String(run))).toEqual({ copy: 'ready' });
});

test('a lease has no more than its room, a claim at a time, however its steps end', async () => {
  const { version } = definitionOf(free);
  const options = { worker: 'small', room: 2, leaseMs: 60_000, versions: [{ job: 'free', version }] };
  const lease = await Lease.open(stage.execute, options);
  await stage.submit(...Array.from({ length: 9 }, () => free));
  await stage.tick();
  const claim = async () => (await lease.claim(1)).steps[0];
  const [one, two, three] = [await claim(), await claim(), await claim()];
  expect(three).toBeUndefined();
  await lease.finish([succeeded(one), succeeded(two)]);
  const [four, five, six] = [await claim(), await claim(), await claim()];
  expect([four === undefined, five === undefined, six]).toEqual([false, false, undefined]);
  const { steps } = await lease.exchange([succeeded(four)], 5);
  expect(steps).toHaveLength(1);
  await lease.close();
});

test('what does not fit into the locks of one call is sent again', async () => {
  const [first, second] = [
    await stage.register('first', { copy: { pool: 'first' } }),
    await stage.register('second', { copy: { pool: 'second' } }),
  ];
  await stage.apply({ concurrency: { pools: { default_limit: 5 } } });
  const lease = await stage.serve(first, second);
  await stage.submit(first, second, first, second);
  await stage.tick();
  const steps = await claimAll(lease);
  await stage.cutAt(1);
  const answers = (await lease.exchange(steps.slice(0, 2).map(succeeded), 0)).answers;
  const again = await lease.finish(steps.map(succeeded));
  await stage.cutAt(256);
  expect(answers).toEqual(['accepted', 'retry']);
  expect(again).toEqual(['already', 'accepted', 'accepted', 'accepted']);
  expect(await stage.inUse()).toEqual({});
});

test('a worker whose outcomes do not fit into one call sends them again', async () => {
  const { worker, told } = await working(2, 'first', 'second');
  await stage.cutAt(1);
  while (worker.running > 0) await worker.tick();
  await stage.cutAt(256);
  await worker.stop();
  const states = await stage.rows('select state from lockkeeper.runs order by run_id desc limit 2');
  expect([told.flat().includes('end'), states]).toEqual([
    true,
    [{ state: 'succeeded' }, { state: 'succeeded' }],
  ]);
});

test('a worker that was told here of something, and has no room, tells others', async () => {
  const { worker, told, open } = await working(1, 'first');
  told.length = 0;
  worker.wake(true);
  await worker.tick();
  await worker.tick();
  expect(told).toEqual([['claim']]);
  open();
  await worker.stop();
});

/** A worker by hand that has claimed a run of each job; their handlers end once they are opened, or when there are two. */
async function working(room: number, ...names: string[]) {
  const gate = Promise.withResolvers<void>();
  if (names.length > 1) gate.resolve();
  const jobs = names.map((name) => job(name, { pool: name }, () => gate.promise));
  for (const each of jobs) await register(stage.execute, each);
  const told: (readonly Wake[])[] = [];
  const worker = new Worker({
    database: stage.database,
    log: keepingLog(),
    jobs: new Map(jobs.map((each) => [each.name, each])),
    room,
    onProgress: (wakes) => told.push(wakes),
  });
  await worker.open();
  await stage.apply({ concurrency: { pools: { default_limit: 5 } } });
  await submitRuns(
    stage.queue,
    stage.execute,
    names.map((name) => ({ job: name })),
  );
  await stage.tick();
  await worker.tick();
  return { worker, told, open: () => gate.resolve() };
}
