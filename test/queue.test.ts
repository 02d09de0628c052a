import { PgBoss } from 'pg-boss';
import { expect, onTestFinished, test } from 'vitest';
import { type Database, executor, openDatabase, transaction } from '../src/database.ts';
import { SchemaError } from '../src/errors.ts';
import {
  bossSchemaVersion,
  openQueue,
  queueSchema,
  rejectedQueue,
  submitQueue,
  ticketQueue,
} from '../src/queue/boss.ts';
import { createKeeper } from '../src/queue/keeper.ts';
import { stillClock } from '../src/queue/still-clock.ts';
import { insertTickets, runIdOf, ticketId } from '../src/queue/tickets.ts';
import { emptyDatabase } from './support/database.ts';

// One for each test that changes pg-boss's schema as a whole.
const [crowded, versioned, renamed, ticketed, kept] = await Promise.all([
  emptyDatabase(),
  emptyDatabase(),
  emptyDatabase(),
  emptyDatabase(),
  emptyDatabase(),
]);

const rows = async (database: Database, text: string) => (await database.execute(text, [])).rows;
const serverTime = async (database: Database) =>
  Number((await rows(database, 'select extract(epoch from clock_timestamp()) * 1000 as ms'))[0]?.ms);
const setVersion = (database: Database, version: number) =>
  rows(database, `update pgboss.version set version = ${version}`);

test('many processes at once bring pg-boss and its queues to an empty database', async () => {
  const database = crowded;
  await expect(openQueue(database)).rejects.toThrow('pg-boss is not installed in schema pgboss');
  const { connectionString } = database;
  const pods = Array.from({ length: 10 }, () => openDatabase({ connectionString, max: 1 }));
  onTestFinished(async () => {
    await Promise.all(pods.map((pod) => pod.close()));
  });
  await Promise.all(pods.map((pod) => queueSchema(pod).migrate()));
  await queueSchema(database).migrate();
  const found = await rows(
    database,
    'select name, partition, retention_seconds > 60 * 365 * 86400 as long from pgboss.queue order by name',
  );
  expect(found).toEqual([
    { name: rejectedQueue, partition: false, long: false },
    { name: ticketQueue, partition: true, long: true },
    { name: submitQueue, partition: false, long: false },
  ]);
});

test('an older pg-boss is upgraded only when told to, a newer one is refused', async () => {
  const database = versioned;
  await queueSchema(database).migrate();
  await setVersion(database, bossSchemaVersion - 1);
  await expect(openQueue(database)).rejects.toThrow(SchemaError);
  await expect(queueSchema(database).migrate()).rejects.toThrow(`has version ${bossSchemaVersion - 1}`);
  await expect(createKeeper(database).tick(0)).rejects.toThrow(SchemaError);
  await setVersion(database, bossSchemaVersion + 1);
  await expect(openQueue(database)).rejects.toThrow(`works with version ${bossSchemaVersion}`);
  await expect(queueSchema(database, { upgrade: true }).migrate()).rejects.toThrow(SchemaError);
});

test('pg-boss may live in a schema of any name', async () => {
  const database = renamed;
  const schema = '"My Boss"';
  await queueSchema(database, { schema }).migrate();
  const queue = await openQueue(database, { schema });
  await insertTickets(queue, database.execute, [ticket('7')]);
  expect(await rows(database, `select id from ${schema}.job`)).toEqual([{ id: ticketId('7') }]);
  await queue.close();
});

test('tickets join the transaction of the executor, thousands in one statement', async () => {
  const database = ticketed;
  await queueSchema(database).migrate();
  const queue = await openQueue(database);
  const statements: string[] = [];
  const insert = (query: Parameters<Parameters<typeof transaction>[1]>[0]) =>
    insertTickets(
      queue,
      executor((text, values) => {
        statements.push(text);
        return query(text, values);
      }),
      Array.from({ length: 3_000 }, (_, i) => ticket(String(i + 1))),
    );
  const failing = transaction(database, async (query) => {
    await insert(query);
    throw new Error('the caller rolls back');
  });
  await expect(failing).rejects.toThrow('the caller rolls back');
  expect(await rows(database, 'select count(*)::int as n from pgboss.job')).toEqual([{ n: 0 }]);
  await transaction(database, insert);
  await transaction(database, insert);
  expect(statements).toHaveLength(3);
  expect(await rows(database, 'select count(*)::int as n from pgboss.job')).toEqual([{ n: 3_000 }]);
  const [first] = await rows(
    database,
    `select state, priority, data from pgboss.job where id = '${ticketId('1')}'`,
  );
  const data = { run_id: '1', job: 'load', deployment: 'default', tags: { customer: 'acme' } };
  expect(first).toEqual({ state: 'created', priority: 5, data });
  await queue.close();
});

const ticket = (runId: string) => ({
  runId,
  job: 'load',
  deployment: 'default',
  tags: { customer: 'acme' },
  priority: 5,
});

test('the id of a ticket holds the id of its run', () => {
  for (const runId of ['0', '1', '255', '281474976710655']) expect(runIdOf(ticketId(runId))).toBe(runId);
  expect(runIdOf('0b1f1c9e-0000-8000-8000-000000000001')).toBeUndefined();
});

test('keepers send what cron asks for once, and maintain; a tick with nothing due executes nothing', async () => {
  const database = kept;
  await queueSchema(database).migrate();
  const user = new PgBoss({ connectionString: database.connectionString, supervise: false, schedule: false });
  await user.start();
  await user.schedule(submitQueue, '* * * * *', { job: 'nightly' });
  await user.stop();
  let statements = 0;
  const counted: Database['execute'] = (text, values) => {
    statements += 1;
    return database.execute(text, values);
  };
  const errors: Error[] = [];
  const settings = { onError: (error: Error) => errors.push(error) };
  const keepers = [
    createKeeper({ execute: counted }, settings),
    createKeeper({ execute: counted }, settings),
  ];
  let now = await serverTime(database);
  for (const seconds of [0, 6, 12, 62]) {
    now += seconds * 1_000;
    for (const keeper of keepers) await keeper.tick(now);
  }
  expect(await rows(database, `select data from pgboss.job where name = '${submitQueue}'`)).toEqual([
    { data: { job: 'nightly' } },
  ]);
  const maintained =
    'select bool_and(maintain_on is not null and monitor_on is not null) as all from pgboss.queue';
  expect(await rows(database, maintained)).toEqual([{ all: true }]);
  statements = 0;
  for (const keeper of keepers) await keeper.tick(now + 10);
  expect(statements).toBe(0);
  for (const keeper of keepers) await keeper.close();
  expect(errors).toEqual([]);
});

test('a still clock fires what is due when it is moved on, in order, and never goes back', () => {
  const clock = stillClock(1_000);
  const fired: string[] = [];
  clock.setTimeout(() => fired.push('later'), 200);
  const cleared = clock.setTimeout(() => fired.push('cleared'), 150);
  clock.setTimeout(() => clock.clearTimeout(cleared), 100);
  clock.setInterval(() => fired.push(`every ${clock.now()}`), 150);
  clock.advance(1_099);
  expect(fired).toEqual([]);
  clock.advance(1_300);
  clock.advance(1_000);
  clock.advance(1_449);
  clock.advance(1_450);
  expect(fired).toEqual(['every 1300', 'later', 'every 1450']);
});
