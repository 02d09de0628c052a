import { PgBoss } from 'pg-boss';
import { afterAll, expect, test } from 'vitest';
import { transaction } from '../src/database.ts';
import { openQueue, ticketQueue } from '../src/queue/boss.ts';
import {
  hasStrays,
  insertTickets,
  mirrorTickets,
  readStrays,
  runIdOf,
  submitTicketed,
  ticketId,
} from '../src/queue/tickets.ts';
import { testDatabase } from './support/database.ts';

const database = await testDatabase();
const queue = await openQueue(database);
// Somebody else's pg-boss, which knows nothing of Lockkeeper.
const stranger = new PgBoss({
  connectionString: database.connectionString,
  supervise: false,
  schedule: false,
  migrate: false,
});
await stranger.start();
afterAll(async () => {
  await stranger.stop({ graceful: false });
  await queue.close();
});

const rows = async (text: string, values: unknown[] = []) => (await database.execute(text, values)).rows;
await rows('select lockkeeper.register($1)', [
  JSON.stringify({ job: 'load', version: '1', steps: [{ name: 'only' }], limits: [] }),
]);

const submit = async (): Promise<string> =>
  String((await rows(`select run_id from lockkeeper.submit('{"job": "load", "priority": 4}')`))[0]?.run_id);
const stateOf = async (runId: string) =>
  (await rows('select state from lockkeeper.runs where run_id = $1', [runId]))[0]?.state;
const tickets = async () => {
  const found = await rows(`select id, state from pgboss.job where name = '${ticketQueue}' order by id`);
  return Object.fromEntries(found.map(({ id, state }) => [runIdOf(String(id)), state]));
};
const strays = async () => (await rows(`select ${hasStrays(queue)} as yes`))[0]?.yes;
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
  while ((await mirror()).closed === 0);
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

test('a ticket that a stranger fetched, completed or failed is made again', async () => {
  const runId = await submit();
  const end = [
    () => undefined,
    () => stranger.complete(ticketQueue, ticketId(runId)),
    () => stranger.fail(ticketQueue, ticketId(runId)),
  ];
  await mirror();
  for (const ending of end) {
    await stranger.fetch(ticketQueue);
    await ending();
    expect(await readStrays(queue, database)).toEqual({ canceled: [], remade: [runId], more: false });
    await mirror();
    expect(await tickets()).toEqual({ [runId]: 'created' });
  }
  expect(await stateOf(runId)).toBe('queued');
  await rows('select lockkeeper.cancel($1)', [[runId]]);
  await mirror();
});

test("a stranger's own job in the tickets' queue is deleted when it has ended", async () => {
  const id = await stranger.send(ticketQueue, { not: 'ours' });
  await stranger.cancel(ticketQueue, String(id));
  expect(await readStrays(queue, database)).toEqual({ canceled: [], remade: [], more: false });
  expect(await tickets()).toEqual({});
});
