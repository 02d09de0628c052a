/** The auditor: tickets that vanished, tickets that were left, and nothing that is only under way. */

import { afterEach, expect, test } from 'vitest';
import { Auditor } from '../src/coordinator/auditor.ts';
import { Coordinator } from '../src/coordinator/coordinator.ts';
import { keepTickets } from '../src/coordinator/tick.ts';
import { transaction } from '../src/database.ts';
import { submitQueue, ticketQueue } from '../src/queue/boss.ts';
import { auditTickets, insertTickets, runIdOf, submitTicketed, ticketId } from '../src/queue/tickets.ts';
import { keepingLog } from './support/log.ts';
import { openBossStage } from './support/pg-boss.ts';

const { database, queue, stranger, rows, cancelAll } = await openBossStage();
afterEach(async () => {
  await cancelAll();
  await mirror();
  await stranger.deleteAllJobs(ticketQueue);
});

/** Queued runs, their tickets noted. */
const submit = async (n: number): Promise<string[]> => {
  const found = await rows(
    `select run_id from lockkeeper.submit((select jsonb_agg('{"job": "load"}'::jsonb) from generate_series(1, $1)))`,
    [n],
  );
  return found.map(({ run_id }) => String(run_id));
};
const mirror = () => keepTickets(database, queue);
const tickets = async () => {
  const found = await rows(`select id from pgboss.job where name = '${ticketQueue}' order by id`);
  return found.map(({ id }) => runIdOf(String(id)));
};
const nothing = { missing: [], orphans: [] };
/** A whole walk in slices of 50; answers what it found and how many slices it took. */
const walk = async () => {
  const auditor = new Auditor(database, queue, 50);
  const found = { missing: [] as string[], orphans: [] as string[] };
  for (let slices = 1; ; slices += 1) {
    const { missing, orphans, upto } = await auditor.tick();
    found.missing.push(...missing);
    found.orphans.push(...orphans);
    if (upto === undefined) return { found, slices };
  }
};

test('with everything in its place, a walk goes through all slices and finds nothing', async () => {
  const runIds = await submit(320);
  await mirror();
  const { found, slices } = await walk();
  expect(found).toEqual(nothing);
  expect(slices).toBeGreaterThanOrEqual(7);
  expect(await tickets()).toEqual(runIds);
});

test('tickets that somebody deleted are made again, wherever they were', async () => {
  const runIds = await submit(300);
  await mirror();
  const gone = runIds.filter((_, i) => i < 3 || i === 49 || i === 50 || i % 97 === 0 || i > 296);
  await stranger.deleteJob(ticketQueue, gone.map(ticketId));
  expect((await walk()).found).toEqual({ missing: gone, orphans: [] });
  // Noted, so that a second walk does not find them again.
  expect((await walk()).found).toEqual(nothing);
  await mirror();
  expect(await tickets()).toEqual(runIds);
});

test('all at once: somebody emptied the queue', async () => {
  const runIds = await submit(200);
  await mirror();
  await stranger.deleteAllJobs(ticketQueue);
  expect((await walk()).found.missing).toEqual(runIds);
  await mirror();
  expect(await tickets()).toEqual(runIds);
});

test('tickets of runs that are not queued are deleted, also where there is no such run', async () => {
  const [ended, waiting] = (await submit(2)) as [string, string];
  await mirror();
  await rows('select lockkeeper.cancel($1)', [[ended]]);
  await rows('select * from lockkeeper.take_ticket_changes(10)'); // Taken, and never followed.
  const never = Array.from({ length: 120 }, (_, i) => String(1_000_000 + i));
  const ticket = { job: 'load', deployment: 'default', tags: {}, priority: 0 };
  await insertTickets(
    queue,
    database.execute,
    never.map((runId) => ({ runId, ...ticket })),
  );
  const other = await stranger.send(ticketQueue, { not: 'ours' });
  expect((await walk()).found).toEqual({ missing: [], orphans: [ended, ...never] });
  expect((await tickets()).filter(Boolean)).toEqual([waiting]);
  expect(await stranger.findJobs(ticketQueue, { id: String(other) })).toHaveLength(1);
});

test('what is noted and not yet done counts as in its place', async () => {
  const runIds = await submit(60);
  expect((await walk()).found).toEqual(nothing);
  await mirror();
  await rows('select lockkeeper.cancel($1)', [runIds.slice(0, 30)]);
  expect((await walk()).found).toEqual(nothing);
});

test('a run that is being submitted, and tickets that are being made or deleted, are seen whole or not at all', async () => {
  const runIds = await submit(4);
  await transaction(database, async (query) => {
    await submitTicketed(queue, query, [{ job: 'load' }]);
    expect((await walk()).found).toEqual(nothing);
    await query('select * from lockkeeper.take_ticket_changes(10)');
    expect((await walk()).found).toEqual(nothing);
    const ticket = { job: 'load', deployment: 'default', tags: {}, priority: 0 };
    await insertTickets(
      queue,
      query,
      runIds.map((runId) => ({ runId, ...ticket })),
    );
    expect((await walk()).found).toEqual(nothing);
  });
  expect((await walk()).found).toEqual(nothing);
  expect(await tickets()).toHaveLength(5);
});

test('runs and tickets are read as of one moment', async () => {
  const [first] = (await submit(2)) as [string, string];
  await mirror();
  const waits =
    "select from pg_stat_activity where datname = current_database() and wait_event_type = 'Lock'";
  const { walking } = await transaction(database, async (query) => {
    await query('lock table lockkeeper_data.runs');
    const begun = auditTickets(queue, database, String(BigInt(first) - 1n), 50);
    // It has read the tickets, and is about to read the runs.
    while ((await rows(waits)).length === 0);
    await submitTicketed(queue, query, [{ job: 'load' }]);
    return { walking: begun };
  });
  expect(await walking).toEqual({ ...nothing, upto: undefined });
});

test('walks and mirrors at the same time never disagree', async () => {
  const works = [mirror, walk, () => submit(40), walk, mirror];
  for (let round = 0; round < 4; round += 1) {
    await submit(40);
    await Promise.all(works.map((work) => work()));
    const canceled = await rows("select run_id from lockkeeper.runs where state = 'queued' limit 30");
    const cancel = () => rows('select lockkeeper.cancel($1)', [canceled.map(({ run_id }) => run_id)]);
    const results = await Promise.all([cancel(), walk(), mirror(), walk()]);
    expect([results[1], results[3]].map(({ found }) => found)).toEqual([nothing, nothing]);
  }
  await mirror();
  expect((await walk()).found).toEqual(nothing);
});

test('queues of ours that somebody deleted are made again, with all the tickets', async () => {
  const log = keepingLog();
  const coordinator = new Coordinator({ database, queue, settings: {}, log, onProgress: () => undefined });
  const runIds = await submit(5);
  await mirror();
  const settings = () =>
    rows(
      `select name, partition, retention_seconds, deletion_seconds from pgboss.queue
       where name like 'lockkeeper.%' order by name`,
    );
  const before = await settings();
  for (const name of [ticketQueue, submitQueue]) await stranger.deleteQueue(name);
  const late = await submit(1);
  await expect(mirror()).rejects.toThrow('does not exist');
  await coordinator.keep();
  expect(await settings()).toEqual(before);
  expect(log.lines.map(({ level, fields }) => [level, fields])).toEqual([
    ['warn', { queues: [ticketQueue, submitQueue] }],
    ['warn', { missing: 5 }],
  ]);
  await mirror();
  expect(await tickets()).toEqual([...runIds, ...late]);
  await stranger.send(submitQueue, { job: 'load' });
  expect(await coordinator.tick()).toMatchObject({ submitted: 1 });
  await coordinator.stop();
});

test('the coordinator audits a slice with each round of its keeper, and says what it found', async () => {
  const log = keepingLog();
  const coordinator = new Coordinator({ database, queue, settings: {}, log, onProgress: () => undefined });
  const runIds = await submit(3);
  await mirror();
  await coordinator.keep();
  expect(log.lines).toEqual([]);
  await stranger.deleteJob(ticketQueue, runIds.slice(1).map(ticketId));
  await coordinator.keep();
  expect(log.lines).toEqual([
    { level: 'warn', message: expect.stringContaining('lost their tickets'), fields: { missing: 2 } },
  ]);
  await mirror();
  expect(await tickets()).toEqual(runIds);
  await coordinator.stop();
});
