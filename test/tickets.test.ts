import { expect, test } from 'vitest';
import { readTodo } from '../src/coordinator/tick.ts';
import { pgBossDb, transaction } from '../src/database.ts';
import { ticketQueue } from '../src/queue/boss.ts';
import {
  insertTickets,
  mirrorTickets,
  readStrays,
  runIdOf,
  submitTicketed,
  ticketId,
} from '../src/queue/tickets.ts';
import { openBossStage, scansBy } from './support/pg-boss.ts';

const { database, queue, stranger, rows, outside } = await openBossStage();

const submit = async (): Promise<string> =>
  String((await rows(`select run_id from lockkeeper.submit('{"job": "load", "priority": 4}')`))[0]?.run_id);
const stateOf = async (runId: string) =>
  (await rows('select state from lockkeeper.runs where run_id = $1', [runId]))[0]?.state;
const tickets = async () => {
  const found = await rows(`select id, state from pgboss.job where name = '${ticketQueue}' order by id`);
  return Object.fromEntries(found.map(({ id, state }) => [runIdOf(String(id)), state]));
};
const strays = async () => (await outside())?.strays;
const mirror = () => mirrorTickets(queue, database);

test('a run submitted from SQL gets its ticket at the next tick, and loses it when it is canceled', async () => {
  const runId = await submit();
  expect(await mirror()).toEqual({ made: 1, closed: 0, more: false });
  expect(await tickets()).toEqual({ [runId]: 'created' });
  const [job] = await stranger.findJobs(ticketQueue, { id: ticketId(runId) });
  expect(job).toMatchObject({
    priority: 4,
    data: { run_id: runId, job: 'load', deployment: 'default', tags: {} },
  });
  await rows('select lockkeeper.cancel($1)', [[runId]]);
  expect(await mirror()).toEqual({ made: 0, closed: 1, more: false });
  expect(await tickets()).toEqual({});
  expect(await mirror()).toEqual({ made: 0, closed: 0, more: false });
});

test('a run that waits no longer when its ticket is due gets none', async () => {
  const runId = await submit();
  await rows('select lockkeeper.cancel($1)', [[runId]]);
  // That there may be more does not depend on whether there was something to make.
  expect(await mirrorTickets(queue, database, 1)).toEqual({ made: 0, closed: 0, more: true });
  expect(await mirrorTickets(queue, database, 1)).toEqual({ made: 0, closed: 1, more: true });
  expect(await tickets()).toEqual({});
});

test('a ticket that was canceled just before it would be made again cancels its run all the same', async () => {
  const runId = await submit();
  await mirror();
  await rows('select lockkeeper.set_priority($1, 7)', [[runId]]);
  await stranger.cancel(ticketQueue, ticketId(runId));
  await mirror();
  expect(await tickets()).toEqual({ [runId]: 'cancelled' });
  expect((await readStrays(queue, database)).canceled).toEqual([runId]);
  expect(await stateOf(runId)).toBe('canceled');
  await mirror();
  expect(await tickets()).toEqual({});
});

test('a ticket that another process is about to make is deleted after it was made', async () => {
  const runId = await submit();
  await transaction(database, async (query) => {
    await query('select * from lockkeeper.take_ticket_changes(10)');
    await rows('select lockkeeper.cancel($1)', [[runId]]);
    expect(await mirror()).toEqual({ made: 0, closed: 0, more: false });
    await insertTickets(queue, query, [{ runId, job: 'load', deployment: 'default', tags: {}, priority: 4 }]);
  });
  expect(await mirror()).toEqual({ made: 0, closed: 1, more: false });
  expect(await tickets()).toEqual({});
});

test('with more changes than a tick takes, nothing is lost', async () => {
  const runIds = [await submit(), await submit(), await submit()];
  expect(await mirrorTickets(queue, database, 2)).toEqual({ made: 2, closed: 0, more: true });
  await Promise.all([mirrorTickets(queue, database, 2), mirrorTickets(queue, database, 2)]);
  expect(Object.keys(await tickets())).toEqual(runIds);
  await rows('select lockkeeper.cancel($1)', [runIds]);
  await mirror();
});

test('submitted in one transaction with their tickets; a key that was seen makes no second run', async () => {
  const submission = { job: 'load', key: 'once', tags: { customer: 'acme' } };
  const [first, second, third] = await submitTicketed(queue, database.execute, [
    submission,
    submission,
    { job: 'load' },
  ]);
  expect([first?.created, second?.created, third?.created]).toEqual([true, false, true]);
  expect(second?.runId).toBe(first?.runId);
  expect(await mirror()).toEqual({ made: 0, closed: 0, more: false });
  const runIds = [String(first?.runId), String(third?.runId)];
  expect(Object.keys(await tickets())).toEqual(runIds);
  await rows('select lockkeeper.cancel($1)', [runIds]);
  await mirror();
});

test('a ticket canceled in pg-boss cancels its queued run', async () => {
  const runId = await submit();
  await mirror();
  expect(await strays()).toBe(false);
  await stranger.cancel(ticketQueue, ticketId(runId));
  expect(await strays()).toBe(true);
  expect(await readStrays(queue, database)).toEqual({ canceled: [runId], remade: [], more: false });
  expect(await stateOf(runId)).toBe('canceled');
  await mirror();
  expect(await tickets()).toEqual({});
  expect(await strays()).toBe(false);
});

test('a ticket that a stranger fetched, completed, failed or retried is made again', async () => {
  const runId = await submit();
  const id = ticketId(runId);
  const ends = [
    () => undefined,
    () => stranger.complete(ticketQueue, id),
    () => stranger.fail(ticketQueue, id),
    async () => {
      await stranger.fail(ticketQueue, id);
      await stranger.retry(ticketQueue, id);
    },
  ];
  await mirror();
  for (const end of ends) {
    await stranger.fetch(ticketQueue);
    await end();
    expect(await strays()).toBe(true);
    expect(await readStrays(queue, database)).toEqual({ canceled: [], remade: [runId], more: false });
    await mirror();
    expect(await tickets()).toEqual({ [runId]: 'created' });
    expect(await strays()).toBe(false);
  }
  expect(await stateOf(runId)).toBe('queued');
  await rows('select lockkeeper.cancel($1)', [[runId]]);
  await mirror();
});

test('of many that were canceled, each call takes some, and all their runs are canceled', async () => {
  const runIds = await Promise.all(Array.from({ length: 250 }, submit));
  const [kept, ...canceled] = runIds as [string, ...string[]];
  await mirror();
  await stranger.cancel(ticketQueue, canceled.map(ticketId));
  const found: string[] = [];
  for (let more = true; more; ) {
    const read = await readStrays(queue, database, 100);
    expect(read.remade).toEqual([]);
    found.push(...read.canceled);
    more = read.more;
  }
  expect(found.toSorted()).toEqual(canceled.toSorted());
  await mirror();
  expect(await tickets()).toEqual({ [kept]: 'created' });
  await rows('select lockkeeper.cancel($1)', [[kept]]);
  await mirror();
});

test('strays are looked for by index, whatever Postgres knows of the table', async () => {
  const runIds = await Promise.all(Array.from({ length: 300 }, submit));
  await mirror();
  // As it looks after somebody fetched them all and they were made again: what is known is long wrong.
  await stranger.fetch(ticketQueue, { batchSize: 200 });
  await stranger.cancel(ticketQueue, runIds.slice(250).map(ticketId));
  await rows('analyze pgboss.job');
  while ((await readStrays(queue, database)).more);
  await mirror();
  // Three states of tickets, two of submissions.
  const looking = scansBy(database, (execute) => readTodo(execute, queue));
  expect(await looking).toEqual({ whole: 0, byIndex: 5, rows: 0 });
  await rows('select lockkeeper.cancel($1)', [runIds]);
  await mirror();
});

test('a run of a higher priority gets its ticket anew, in one transaction', async () => {
  const runId = await submit();
  await mirror();
  await rows('select lockkeeper.set_priority($1, 9)', [[runId]]);
  expect(await mirror()).toEqual({ made: 1, closed: 0, more: false });
  expect(await stranger.findJobs(ticketQueue)).toMatchObject([{ id: ticketId(runId), priority: 9 }]);
  // Changed and gone before the ticket was made anew: the old one is closed all the same.
  await rows('select lockkeeper.set_priority($1, 10)', [[runId]]);
  await rows('select lockkeeper.cancel($1)', [[runId]]);
  while ((await mirror()).closed === 0);
  expect(await tickets()).toEqual({});
});

test('a ticket that is being made anew is not closed before', async () => {
  const runId = await submit();
  await mirror();
  await rows('select lockkeeper.set_priority($1, 9)', [[runId]]);
  await transaction(database, async (query) => {
    await query('select * from lockkeeper.take_ticket_changes(10)');
    await rows('select lockkeeper.cancel($1)', [[runId]]);
    expect(await mirror()).toEqual({ made: 0, closed: 0, more: false });
    await stranger.deleteJob(ticketQueue, ticketId(runId), { db: pgBossDb(query) });
    await insertTickets(queue, query, [{ runId, job: 'load', deployment: 'default', tags: {}, priority: 9 }]);
  });
  expect(await mirror()).toEqual({ made: 0, closed: 1, more: false });
  expect(await tickets()).toEqual({});
});

test('the ticket of a delayed run is deferred in pg-boss until then', async () => {
  const at = '2031-05-01T06:00:00+02:00';
  const [submitted] = await submitTicketed(queue, database.execute, [
    { job: 'load', start_at: at, branch: 'pr-7' },
  ]);
  const [row] = await rows('select run_id from lockkeeper.submit($1)', [
    JSON.stringify({ job: 'load', start_at: at }),
  ]);
  const [far] = await rows('select run_id from lockkeeper.submit($1)', [
    JSON.stringify({ job: 'load', start_at: '9999-12-31T23:59:59.9Z' }),
  ]);
  await mirror();
  const runIds = [submitted?.runId, row?.run_id, far?.run_id].map(String);
  const found = await rows(
    `select start_after, data from pgboss.job where name = '${ticketQueue}' order by id`,
  );
  expect(found.map(({ start_after }) => start_after)).toEqual(
    [at, at, '9999-12-31T00:00:00Z'].map((time) => new Date(time)),
  );
  expect(found[0]?.data).toMatchObject({ deployment: 'pr-7' });
  expect(await strays()).toBe(false);
  await stranger.cancel(ticketQueue, runIds.map(ticketId));
  expect((await readStrays(queue, database)).canceled.toSorted()).toEqual(runIds.toSorted());
  await mirror();
  expect(await tickets()).toEqual({});
});

test('a run that waited too long loses its ticket, and a run that is tried again gets one', async () => {
  const submission = JSON.stringify({ job: 'load', queue_timeout_ms: 1 });
  const runId = String((await rows('select run_id from lockkeeper.submit($1)', [submission]))[0]?.run_id);
  await mirror();
  while ((await rows('select ended from lockkeeper.expire(10)'))[0]?.ended === 0);
  expect(await stateOf(runId)).toBe('failed');
  expect(await mirror()).toEqual({ made: 0, closed: 1, more: false });
  const [retried] = await rows('select new_run_id from lockkeeper.retry($1)', [[runId]]);
  expect(await mirror()).toEqual({ made: 1, closed: 0, more: false });
  const newId = String(retried?.new_run_id);
  expect(await tickets()).toEqual({ [newId]: 'created' });
  await rows('select lockkeeper.cancel($1)', [[newId]]);
  await mirror();
});

test("a stranger's own job in the tickets' queue is deleted when it has ended", async () => {
  const id = await stranger.send(ticketQueue, { not: 'ours' });
  await stranger.cancel(ticketQueue, String(id));
  expect(await readStrays(queue, database)).toEqual({ canceled: [], remade: [], more: false });
  expect(await tickets()).toEqual({});
});
