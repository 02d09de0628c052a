/** The part of a pod's look that is in pg-boss: its plans are kept by the session, and must not outlive what they are of. */

import { PgBoss } from 'pg-boss';
import { afterAll, expect, onTestFinished, test } from 'vitest';
import { pass, readTodo } from '../src/coordinator/tick.ts';
import { type Database, executor, openDatabase, transaction } from '../src/database.ts';
import { SchemaError } from '../src/errors.ts';
import { migrateDatabase } from '../src/migrate/database.ts';
import { uninstall } from '../src/migrate/uninstall.ts';
import { openQueue, submitQueue, ticketQueue } from '../src/queue/boss.ts';
import { ticketId } from '../src/queue/tickets.ts';
import { emptyDatabase } from './support/database.ts';

const database = await emptyDatabase();
const { connectionString } = database;
/** One session, so that the plans that it has kept are used. */
const session = openDatabase({ connectionString, max: 1 });
afterAll(() => session.close());
const rows = async (text: string, values: unknown[] = []) => (await session.execute(text, values)).rows;

async function client(schema: string) {
  const boss = new PgBoss({ connectionString, schema, supervise: false, schedule: false, migrate: false });
  await boss.start();
  onTestFinished(() => boss.stop({ graceful: false }));
  return boss;
}
async function opened(schema: string, on: Pick<Database, 'execute' | 'schema'> = session) {
  const queue = await openQueue(on, { schema });
  onTestFinished(() => queue.close());
  return queue;
}
const outside = async (schema: string) =>
  (await rows('select submissions, strays from lockkeeper.todo($1, $2)', [[], schema]))[0];
const nothing = { submissions: false, strays: false };
const register = () =>
  rows(`select lockkeeper.register('{ "job": "load", "version": "1", "steps": [{ "name": "only" }] }')`);

test('submissions and cancels are seen in the pg-boss that is named, whatever the session looked at before', async () => {
  const mine = '"My Boss"';
  await migrateDatabase({ connectionString, pgBossSchema: mine });
  await migrateDatabase({ connectionString });
  await register();
  // Often enough for any plan to be kept.
  for (let i = 0; i < 10; i += 1)
    expect([await outside('pgboss'), await outside(mine)]).toEqual([nothing, nothing]);
  const boss = await client(mine);
  await boss.send(submitQueue, { job: 'load' });
  expect([await outside('pgboss'), await outside(mine)]).toEqual([
    nothing,
    { ...nothing, submissions: true },
  ]);
  const queue = await opened(mine);
  expect((await pass(session, queue)).submitted).toBe(1);
  expect(await outside(mine)).toEqual(nothing);
  const [run] = await rows('select run_id from lockkeeper.runs');
  await boss.cancel(ticketQueue, ticketId(String(run?.run_id)));
  expect([await outside('pgboss'), await outside(mine)]).toEqual([nothing, { ...nothing, strays: true }]);
  expect((await pass(session, queue)).canceled).toEqual([run?.run_id]);
  expect(await outside(mine)).toEqual(nothing);
});

test('each Lockkeeper looks at its own queues', async () => {
  await migrateDatabase({ connectionString, schema: 'other' });
  const other = openDatabase({ connectionString, schema: 'other', max: 1 });
  onTestFinished(() => other.close());
  const boss = await client('pgboss');
  await boss.send('other.submit', { job: 'nowhere' });
  const queue = await opened('pgboss', other);
  expect(await readTodo(other.execute, queue)).toMatchObject({ submissions: true, strays: false });
  expect(await outside('pgboss')).toEqual(nothing);
});

test('the session, and the rest of the transaction, find what they found before', async () => {
  const path = async () => (await rows('show search_path'))[0];
  const before = await path();
  await transaction(session, async (query) => {
    await query('set local search_path = pg_temp');
    await query('create temp table job (name text)');
    expect(await readTodo(executor(query), await opened('pgboss', database))).toMatchObject(nothing);
    expect((await query('show search_path')).rows).toEqual([{ search_path: 'pg_temp' }]);
    expect((await query('select * from job')).rows).toEqual([]);
  });
  expect(await path()).toEqual(before);
});

test('a pod of the release before looks as it did', async () => {
  const { rows: found } = await session.execute(
    'select t.*, true as submissions, true as strays from lockkeeper.todo($1) t',
    [[]],
  );
  expect(found).toMatchObject([{ lane: false, keep: true, submissions: true, strays: true }]);
});

test('where pg-boss went, the look says what to do; after uninstall and migrate the same session sees again', async () => {
  const queue = await opened('pgboss', database);
  await rows('drop schema pgboss cascade');
  const failing = readTodo(session.execute, queue);
  await expect(failing).rejects.toThrow(SchemaError);
  await expect(failing).rejects.toMatchObject({
    message: 'pg-boss is not installed in schema pgboss',
    hint: expect.stringContaining('lockkeeper migrate'),
  });
  // What is in Lockkeeper's own tables does not need pg-boss.
  expect(await readTodo(session.execute)).toMatchObject(nothing);
  await uninstall(database);
  await migrateDatabase({ connectionString });
  await register();
  expect(await readTodo(session.execute, queue)).toMatchObject(nothing);
  const boss = await client('pgboss');
  await boss.send(submitQueue, { job: 'load' });
  expect(await readTodo(session.execute, queue)).toMatchObject({ submissions: true, strays: false });
});
