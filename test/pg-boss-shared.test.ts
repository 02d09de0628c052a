/** A pg-boss that was there before us: its version, its schema, and what else lives in it. */

import { getRollbackPlans, PgBoss } from 'pg-boss';
import { expect, onTestFinished, test } from 'vitest';
import { Coordinator } from '../src/coordinator/coordinator.ts';
import { coordinate, readTodo } from '../src/coordinator/tick.ts';
import type { Database } from '../src/database.ts';
import { SchemaError } from '../src/errors.ts';
import { migrate } from '../src/migrate.ts';
import { bossSchemaVersion, openQueue, queueSchema, submitQueue } from '../src/queue/boss.ts';
import { createKeeper } from '../src/queue/keeper.ts';
import { emptyDatabase } from './support/database.ts';
import { keepingLog } from './support/log.ts';
import { scansBy } from './support/pg-boss.ts';

const [older, newer, shared, apart, locked] = await Promise.all([
  emptyDatabase(),
  emptyDatabase(),
  emptyDatabase(),
  emptyDatabase(),
  emptyDatabase(),
]);
const rows = async (database: Database, text: string) => (await database.execute(text, [])).rows;

/** The user's own pg-boss: two queues of theirs with jobs in every state, and a schedule. */
async function usersBoss(database: Database, schema = 'pgboss'): Promise<PgBoss> {
  const boss = new PgBoss({
    connectionString: database.connectionString,
    schema,
    supervise: false,
    schedule: false,
  });
  await boss.start();
  onTestFinished(() => boss.stop({ graceful: false }));
  await boss.createQueue('dead-letters');
  await boss.createQueue('mail', { retryLimit: 5, deadLetter: 'dead-letters', retentionSeconds: 3_600 });
  await boss.createQueue('reports', { partition: true, policy: 'short' });
  for (let i = 0; i < 30; i += 1) await boss.send('mail', { to: i }, { priority: i % 3 });
  await boss.send('reports', { of: 'May' }, { startAfter: 3_600, singletonKey: 'May' });
  const jobs = await boss.fetch('mail', { batchSize: 3 });
  const [first, second] = jobs.map(({ id }) => id) as [string, string];
  await boss.complete('mail', first, { sent: true });
  await boss.fail('mail', second, { reason: 'no such address' });
  await boss.schedule('reports', '0 3 1 * *', { of: 'month' });
  return boss;
}

/** All that is the user's: their jobs, the settings of their queues, their schedules. */
async function usersData(database: Database, schema = 'pgboss') {
  const others = "name not like 'lockkeeper.%' and name not like '\\_\\_pgboss%' order by name";
  const settings =
    'name, policy, retry_limit, retention_seconds, deletion_seconds, dead_letter, partition, table_name';
  return {
    jobs: await rows(database, `select to_jsonb(j) as job from ${schema}.job j where ${others}, id`),
    queues: await rows(database, `select ${settings} from ${schema}.queue where ${others}`),
    schedules: await rows(database, `select to_jsonb(s) as schedule from ${schema}.schedule s`),
  };
}

async function installed(database: Database, upgrade = false, schema?: string) {
  await migrate(database, { alsoMigrate: [queueSchema(database, { upgrade, schema })] });
  const queue = await openQueue(database, { schema });
  onTestFinished(() => queue.close());
  await database.execute('select lockkeeper.register($1)', [
    JSON.stringify({ job: 'load', version: '1', steps: [{ name: 'only' }], limits: [] }),
  ]);
  return queue;
}
const states = async (database: Database) =>
  (await rows(database, 'select state from lockkeeper.runs')).map(({ state }) => state);

test("an older pg-boss of the user's is refused, untouched, and upgraded when told to", async () => {
  const database = older;
  const boss = await usersBoss(database);
  for (let version = bossSchemaVersion; version > 36; version -= 1)
    await database.pool.query(getRollbackPlans('pgboss', version));
  const before = await usersData(database);
  const version = async () => (await rows(database, 'select version from pgboss.version'))[0]?.version;
  const refusal = `has version 36; this Lockkeeper`;
  await expect(openQueue(database)).rejects.toThrow(refusal);
  await expect(installed(database)).rejects.toThrow(refusal);
  await expect(installed(database)).rejects.toThrow(SchemaError);
  expect(await version()).toBe(36);
  expect(await usersData(database)).toEqual(before);

  const queue = await installed(database, true);
  expect(await version()).toBe(bossSchemaVersion);
  const { jobs, queues } = await usersData(database);
  expect([jobs.length, queues]).toEqual([before.jobs.length, before.queues]);
  expect(await boss.fetch('mail')).toHaveLength(1);
  // The index builds that the upgrade left, a minute later.
  const pending = "select count(*)::int as n from pgboss.bam where status <> 'completed'";
  expect((await rows(database, pending))[0]?.n).toBeGreaterThan(0);
  await rows(
    database,
    `create or replace function pgboss.job_now() returns timestamptz language sql stable
     as $$ select pg_catalog.now() + interval '1 hour' $$`,
  );
  const keeper = createKeeper(database);
  onTestFinished(() => keeper.close());
  await keeper.tick(1_000);
  while ((await rows(database, pending))[0]?.n !== 0);
  await boss.send(submitQueue, { job: 'load' });
  await coordinate(database, queue);
  expect(await states(database)).toEqual(['queued']);
  const looking = scansBy(database, (execute) => readTodo(execute, queue));
  expect(await looking).toEqual({ whole: 0, byIndex: 5, rows: 0 });
});

test('a newer pg-boss than we know is refused, with what to do, also with the flag', async () => {
  const database = newer;
  await usersBoss(database);
  await rows(database, `update pgboss.version set version = ${bossSchemaVersion + 1}`);
  const before = await usersData(database);
  const what = `has version ${bossSchemaVersion + 1}; this Lockkeeper`;
  for (const upgrade of [false, true]) await expect(installed(database, upgrade)).rejects.toThrow(what);
  const error = await openQueue(database).catch((caught: SchemaError) => caught);
  expect(error).toMatchObject({ name: 'SchemaError', message: expect.stringContaining(what) });
  expect((error as SchemaError).hint).toMatch(/Install the release .* PGBOSS_SCHEMA/);
  expect(await usersData(database)).toEqual(before);
});

test("in one schema with the user's pg-boss, nothing of theirs is touched", async () => {
  const database = shared;
  const boss = await usersBoss(database);
  const before = await usersData(database);
  const queue = await installed(database);
  expect(await usersData(database)).toEqual(before);
  for (let i = 0; i < 20; i += 1)
    await boss.send(submitQueue, i === 7 ? { job: 'nowhere' } : { job: 'load' });
  const log = keepingLog();
  const coordinator = new Coordinator({ database, queue, settings: {}, log, onProgress: () => undefined });
  onTestFinished(() => coordinator.stop());
  expect(await coordinator.tick()).toMatchObject({ submitted: 19, rejected: 1 });
  for (let round = 0; round < 3; round += 1) await coordinator.keep();
  await migrate(database, { alsoMigrate: [queueSchema(database)] });
  expect(await usersData(database)).toEqual(before);
  expect(await boss.fetch('mail', { batchSize: 100 })).toHaveLength(28);

  // Lockkeeper goes: its own schemas, and its three queues.
  await rows(database, 'drop schema lockkeeper, lockkeeper_data cascade');
  for (const name of Object.values(queue.names)) await boss.deleteQueue(name);
  expect((await usersData(database)).queues).toEqual(before.queues);
  expect(await boss.send('mail', { to: 'somebody' })).not.toBeNull();
});

test("a pg-boss of our own beside the user's: another schema by setting", async () => {
  const database = apart;
  const boss = await usersBoss(database);
  await rows(database, `update pgboss.version set version = ${bossSchemaVersion + 1}`); // None of our business.
  const before = await usersData(database);
  const schema = 'lockkeeper_boss';
  const queue = await installed(database, false, schema);
  const client = new PgBoss({
    connectionString: database.connectionString,
    schema,
    supervise: false,
    schedule: false,
  });
  await client.start();
  onTestFinished(() => client.stop({ graceful: false }));
  await client.send(submitQueue, { job: 'load' });
  await coordinate(database, queue);
  const keeper = createKeeper(database, { schema });
  onTestFinished(() => keeper.close());
  for (const now of [1_000, 70_000]) await keeper.tick(now);
  expect(await states(database)).toEqual(['queued']);
  expect(await client.findJobs('lockkeeper.runs')).toHaveLength(1);
  expect(await usersData(database)).toEqual(before);
  expect(await boss.findJobs('mail')).toHaveLength(30);
});

test('of two coordinators that keep at the same time, the one that holds the lock works, the other does nothing', async () => {
  const database = locked;
  const queue = await installed(database);
  const begun = Promise.withResolvers<void>();
  const goOn = Promise.withResolvers<void>();
  /** What each sends to pg-boss; the first stops before its first statement. */
  const sent = { first: [] as string[], second: [] as string[] };
  const watched = (who: keyof typeof sent): Database => ({
    ...database,
    execute: async (text, values) => {
      if (text.includes('pgboss.')) {
        sent[who].push(text);
        begun.resolve();
        if (who === 'first') await goOn.promise;
      }
      return database.execute(text, values);
    },
  });
  const log = keepingLog();
  const coordinators = (['first', 'second'] as const).map((who) => {
    const options = { queue, settings: {}, log, onProgress: () => undefined };
    return new Coordinator({ ...options, database: watched(who) });
  }) as [Coordinator, Coordinator];
  onTestFinished(async () => {
    for (const each of coordinators) await each.stop();
  });
  const [one, two] = coordinators;
  const keeping = one.keep();
  await begun.promise;
  await two.keep();
  expect([sent.first.length, sent.second.length]).toEqual([1, 0]);
  goOn.resolve();
  await keeping;
  expect(sent.first.length).toBeGreaterThan(5);
  // The lock goes with the transaction; then it is anybody's.
  await two.keep();
  expect(sent.second.length).toBeGreaterThan(5);
  expect(log.lines).toEqual([]);
});
