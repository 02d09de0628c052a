/** The coordinator: one pass at a time, by hand; any number of them share the work. */

import { PgBoss } from 'pg-boss';
import { afterAll, expect, test } from 'vitest';
import { Coordinator } from '../src/coordinator/coordinator.ts';
import { readTodo } from '../src/coordinator/tick.ts';
import { submitQueue, ticketQueue } from '../src/queue/boss.ts';
import { ticketId } from '../src/queue/tickets.ts';
import { keepingLog } from './support/log.ts';
import { openStage } from './support/stage.ts';

const stage = await openStage();
const load = await stage.register('load', { copy: {} });
const log = keepingLog();
let progress = 0;
const coordinator = new Coordinator({
  database: stage.database,
  queue: stage.queue,
  settings: {},
  log,
  onProgress: () => {
    progress += 1;
  },
});
const stranger = new PgBoss({
  connectionString: stage.database.connectionString,
  supervise: false,
  schedule: false,
  migrate: false,
});
await stranger.start();
afterAll(() => stranger.stop({ graceful: false }));

const tickets = async () =>
  (await stage.rows(`select id from pgboss.job where name = '${ticketQueue}'`)).map(({ id }) => id);
const nothing = { admitted: [], ended: 0, readied: 0, submitted: 0, rejected: 0, canceled: [], remade: [] };

test('with nothing to do, a pass finds nothing and tells nobody', async () => {
  const before = progress;
  expect(await coordinator.tick()).toMatchObject(nothing);
  // Nobody keeps where passes are made by hand.
  const { keep, ...todo } = await readTodo(stage.execute, stage.queue);
  expect([keep, Object.values(todo).includes(true)]).toEqual([true, false]);
  expect(progress).toBe(before);
});

test('a run has a ticket in pg-boss while it is queued, and none once it is admitted', async () => {
  await stage.apply({ concurrency: { runs: { max_concurrent_runs: 0 } } });
  await stage.serve(load);
  const [fromTs] = (await stage.submit(load)) as [string];
  const [row] = await stage.rows('select run_id from lockkeeper.submit($1)', ['{"job": "load"}']);
  const fromSql = String(row?.run_id);
  await coordinator.tick();
  expect((await tickets()).toSorted()).toEqual([fromTs, fromSql].map(ticketId).toSorted());

  await stage.apply({ concurrency: { runs: { max_concurrent_runs: 5 } } });
  const before = progress;
  expect((await coordinator.tick()).admitted).toEqual([fromTs, fromSql]);
  expect(progress).toBe(before + 1);
  expect(await tickets()).toEqual([]);
});

test('a ticket canceled in pg-boss cancels its run; one that was fetched is made again', async () => {
  await stage.apply({ concurrency: { runs: { max_concurrent_runs: 0 } } });
  await stage.serve(load);
  const [canceled, fetched] = (await stage.submit(load, load)) as [string, string];
  await coordinator.tick();
  await stranger.cancel(ticketQueue, ticketId(canceled));
  await stranger.fetch(ticketQueue);
  expect(await coordinator.tick()).toMatchObject({ canceled: [canceled], remade: [fetched] });
  expect(log.lines.at(-1)?.message).toContain('they are made again');
  expect(await stage.stateOf(canceled)).toBe('canceled');
  expect(await tickets()).toEqual([ticketId(fetched)]);
});

test('what any pg-boss client sends is submitted and admitted in the same pass, or rejected', async () => {
  await stage.serve(load);
  await stranger.send(submitQueue, { job: 'load' });
  await stranger.send(submitQueue, { job: 'load', priority: 'high' });
  const ticked = await coordinator.tick();
  expect(ticked).toMatchObject({ submitted: 1, rejected: 1 });
  expect(ticked.admitted).toHaveLength(1);
});

test('several at once admit every run, and none twice', async () => {
  await stage.serve(load);
  await stage.apply({ concurrency: { runs: { max_concurrent_runs: 30 } } });
  await stage.submit(...Array.from({ length: 50 }, () => load));
  const passes = await Promise.all(Array.from({ length: 4 }, () => coordinator.tick()));
  const admitted = passes.flatMap((pass) => pass.admitted);
  expect([admitted.length, new Set(admitted).size]).toEqual([30, 30]);
  expect(await stage.inUse()).toEqual({ 'runs{default}': 30 });
});

test('it reaps a lease that nobody closed, and what was held is ready again', async () => {
  const lease = await stage.serve(load);
  const [runId] = (await stage.submit(load)) as [string];
  await coordinator.tick();
  await lease.claim(1);
  await lease.close();
  expect(await coordinator.tick()).toMatchObject({ ended: 1 });
  expect(await stage.stepsOf(runId)).toEqual({ copy: 'ready' });
});
