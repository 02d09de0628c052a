/** Two Lockkeepers in one database and one pg-boss, each in a schema of its own: neither notices the other. */

import { PgBoss } from 'pg-boss';
import { afterAll, afterEach, describe, expect, test } from 'vitest';
import { coordinate } from '../src/coordinator/tick.ts';
import { executor, openDatabase, transaction } from '../src/database.ts';
import {
  createLockkeeper,
  type ExecutorSource,
  InvalidInputError,
  job,
  type Lockkeeper,
  migrateDatabase,
} from '../src/index.ts';
import { definitionOf } from '../src/jobs.ts';
import { Lease } from '../src/leases.ts';
import { openQueue, queueSchema } from '../src/queue/boss.ts';
import { Wakes } from '../src/wake.ts';
import { cliOn } from './support/cli.ts';
import { emptyDatabase } from './support/database.ts';
import { keepingLog } from './support/log.ts';

const plain = await emptyDatabase();
const { connectionString } = plain;
const log = keepingLog();
const migrated = await Promise.all([
  migrateDatabase({ connectionString }),
  migrateDatabase({ connectionString, schema: 'other' }),
]);
const load = job('load').step('copy', { pool: 'warehouse' }, ({ run }) => run.id);
const usual = await createLockkeeper({ connectionString, jobs: [load], log });
const other = await createLockkeeper({ connectionString, schema: 'other', jobs: [load], log });
const both = [usual, other];
await Promise.all(both.map((lockkeeper) => lockkeeper.register()));
afterAll(() => Promise.all(both.map((lockkeeper) => lockkeeper.close())));

const rowsOf = async ({ database }: Lockkeeper, text: string, values: unknown[] = []) =>
  (await database.execute(text, values)).rows;
const runsOf = async (lockkeeper: Lockkeeper) =>
  (await rowsOf(lockkeeper, 'select run_id from lockkeeper.runs order by run_id')).map(
    ({ run_id }) => run_id,
  );
const countOf = async (lockkeeper: Lockkeeper) => (await runsOf(lockkeeper)).length;

afterEach(async () => {
  for (const lockkeeper of both) {
    const live = await rowsOf(lockkeeper, 'select run_id from lockkeeper.runs where ended_at is null');
    for (const { run_id } of live) await lockkeeper.cancel(String(run_id), { force: true });
    await lockkeeper.applyConfig({});
    expect(await rowsOf(lockkeeper, 'select * from lockkeeper.violations')).toEqual([]);
  }
});

test('both migrate at once, and nothing in the one names the other', async () => {
  expect(migrated).toEqual([migrated[0], migrated[0]]);
  const { rows } = await plain.execute(
    `select p.oid::regprocedure::text as name, concat(p.prosrc, pg_get_function_sqlbody(p.oid)) as text
       from pg_proc p where p.pronamespace in ('other'::regnamespace, 'other_data'::regnamespace)
     union all select c.oid::regclass::text, pg_get_viewdef(c.oid) from pg_class c
       where c.relkind = 'v' and c.relnamespace in ('other'::regnamespace, 'other_data'::regnamespace)`,
    [],
  );
  expect(rows.length).toBeGreaterThan(80);
  const usualNames = /lockkeeper_data|lockkeeper\.(?!yaml)|'lockkeeper'|5505019530000000000/;
  expect(rows.filter(({ text }) => usualNames.test(String(text))).map(({ name }) => name)).toEqual([]);
});

test('both work: handlers, leases and their renewal, results, reasons', async () => {
  await usual.applyConfig({ concurrency: { pools: { limits: { warehouse: 0 } } } });
  const working = await Promise.all(both.map((lockkeeper) => lockkeeper.work({ leaseMs: 1_000 })));
  const stuck = await usual.submit(load);
  const result = await other.run(load);
  expect(result).toMatchObject({ state: 'succeeded', outputs: { copy: result.runId } });
  await expect.poll(() => usual.why(stuck.runId)).toMatchObject([{ key: 'pool.warehouse' }]);
  expect(await rowsOf(other, "select from lockkeeper.limits where name = 'pool.warehouse'")).toEqual([]);

  await usual.applyConfig({});
  expect(await usual.result(stuck.runId)).toMatchObject({ state: 'succeeded' });
  await Promise.all(working.map((one) => one.stop()));
  expect([await runsOf(usual), await runsOf(other)]).toEqual([[stuck.runId], [result.runId]]);
  expect(log.lines.filter(({ level }) => level === 'error' || level === 'warn')).toEqual([]);
});

test('a pool of one is one for each', async () => {
  const { job: name, version } = definitionOf(load);
  const options = { worker: 'w', room: 10, leaseMs: 60_000, versions: [{ job: name, version }] };
  const opened = await Promise.all(
    both.map(async (lockkeeper) => {
      const { database } = lockkeeper;
      await lockkeeper.applyConfig({ concurrency: { pools: { limits: { warehouse: 1 } } } });
      await lockkeeper.submitMany([{ job: 'load' }, { job: 'load' }]);
      return {
        database,
        queue: await openQueue(database),
        lease: await Lease.open(database.execute, options),
      };
    }),
  );
  for (const { database, queue } of opened) {
    expect((await coordinate(database, queue)).admitted).toHaveLength(1);
  }
  for (const { database, queue, lease } of opened) {
    const { steps } = await lease.claim(10);
    expect(steps).toHaveLength(1);
    const endings = steps.map(({ runId, place, attempt }) => ({
      runId,
      place,
      attempt,
      outcome: 'succeeded' as const,
    }));
    expect((await coordinate(database, queue)).admitted).toEqual([]);
    expect(await lease.finish(endings)).toEqual(['accepted']);
    expect((await coordinate(database, queue)).admitted).toHaveLength(1);
    await lease.close();
    await queue.close();
  }
});

describe('pg-boss is shared', () => {
  const client = new PgBoss({ connectionString, supervise: false, schedule: false, migrate: false });
  const tickets = async () => {
    const counted = "select name, count(*)::int as n from pgboss.job where name like '%.runs' group by name";
    const { rows } = await plain.execute(counted, []);
    return new Map(rows.map(({ name, n }) => [name, n]));
  };
  afterAll(() => client.stop({ graceful: false }));

  test('each has queues of its own, which begin with its schema', async () => {
    await client.start();
    const names = (await client.getQueues()).map(({ name }) => name);
    const queues = ['runs', 'submit', 'rejected'].flatMap((queue) => [
      `lockkeeper.${queue}`,
      `other.${queue}`,
    ]);
    expect(names.filter((name) => name.includes('.')).toSorted()).toEqual(queues.toSorted());
    const before = await tickets();
    await other.submit(load);
    await other.submit(load);
    const after = await tickets();
    expect(after.get('other.runs')).toBe(Number(before.get('other.runs') ?? 0) + 2);
    expect(after.get('lockkeeper.runs')).toBe(before.get('lockkeeper.runs'));
  });

  test('what is sent to other.submit becomes a run of that one', async () => {
    const before = [await countOf(usual), await countOf(other)];
    await client.send('other.submit', { job: 'load' });
    await client.send('other.submit', { job: 'nowhere' });
    for (const { database } of both) {
      const queue = await openQueue(database);
      await coordinate(database, queue);
      await queue.close();
    }
    expect([await countOf(usual), await countOf(other)]).toEqual([before[0], Number(before[1]) + 1]);
    expect(await client.fetch('other.rejected')).toMatchObject([{ data: { field: 'job' } }]);
  });

  test.each(['lockkeeper', 'lockkeeper_data', 'other', 'other_data'])(
    'and cannot live in %s',
    async (pgBossSchema) => {
      const opened = createLockkeeper({ connectionString, schema: 'other', pgBossSchema, log });
      await expect(opened).rejects.toThrow(InvalidInputError);
      expect(() => queueSchema(other.database, { schema: pgBossSchema })).toThrow(InvalidInputError);
    },
  );
});

const name = 'select n.nspname from pg_class c join pg_namespace n on n.oid = c.relnamespace';
const which = `select 'lockkeeper.runs' as text, (${name} where c.oid = (select tableoid from lockkeeper_data.configuration)) as schema`;

describe('statements reach the schema', () => {
  const ways: Record<string, () => Promise<{ rows: unknown[] }>> = {
    'on the pool': () => other.database.execute(which, []),
    'in a transaction': () => transaction(other.database, (query) => query(which)),
    'in a transaction of Kysely': () =>
      other.database.db.transaction().execute((within) => executor(within, 'other')(which, [])),
    'of Kysely itself': () => executor(other.database.db)(which, []),
  };

  test.each(Object.entries(ways))('%s', async (_, send) => {
    expect((await send()).rows).toEqual([{ text: 'lockkeeper.runs', schema: 'other_data' }]);
  });

  test('built by Kysely', async () => {
    type Views = { 'lockkeeper.jobs': { job: string; version: string } };
    const database = openDatabase<Views>({ connectionString, schema: 'other' });
    await rowsOf(other, 'select lockkeeper.register($1)', [
      JSON.stringify(definitionOf(job('only other').step('copy', () => null))),
    ]);
    const query = database.db.selectFrom('lockkeeper.jobs').select('job').orderBy('job');
    expect(await query.execute()).toEqual([{ job: 'load' }, { job: 'only other' }]);
    await database.close();
  });

  test("in a transaction of the caller's", async () => {
    const client = await plain.pool.connect();
    const sources: ExecutorSource[] = [
      client,
      (text: string, values: unknown[]) => client.query(text, values),
    ];
    const before = [await countOf(usual), await countOf(other)];
    for (const within of sources) {
      await client.query('begin');
      await other.submit(load, undefined, { within });
      await client.query('commit');
    }
    client.release();
    await other.database.db.transaction().execute((within) => other.submit(load, undefined, { within }));
    expect([await countOf(usual), await countOf(other)]).toEqual([before[0], Number(before[1]) + 3]);
  });
});

test('a hint wakes the others of its schema alone, and not who sent it', async () => {
  const errors: Error[] = [];
  const heard: string[] = [];
  const open = (lockkeeper: Lockkeeper, name: string) => {
    const wakes = new Wakes(lockkeeper.database, (error) => errors.push(error));
    const first = Promise.withResolvers<void>();
    wakes.on({
      wake: () => {
        heard.push(name);
        first.resolve();
      },
    });
    return { wakes, listens: first.promise };
  };
  const pods = [
    open(usual, 'usual'),
    open(usual, 'usual too'),
    open(other, 'other'),
    open(other, 'other too'),
  ];
  await Promise.all(pods.map(({ listens }) => listens));
  heard.length = 0;
  pods[2]?.wakes.send();
  await expect.poll(() => heard).toEqual(['other too']);
  pods[1]?.wakes.send();
  await expect.poll(() => heard).toEqual(['other too', 'usual']);
  await Promise.all(pods.map(({ wakes }) => wakes.close()));
  expect(errors).toEqual([]);
});

describe('the command line', () => {
  test('takes LOCKKEEPER_SCHEMA', async () => {
    const inOther = cliOn(connectionString, { LOCKKEEPER_SCHEMA: 'other' });
    const before = await countOf(usual);
    const submitted = await inOther(['submit', 'load', '--json']);
    expect(submitted.code).toBe(0);
    expect(await countOf(usual)).toBe(before);
    expect((await inOther(['migrate'])).out).toContain('Nothing to do');
    const dryRun = await cliOn(connectionString, { LOCKKEEPER_SCHEMA: 'third' })(['migrate', '--dry-run']);
    expect(dryRun.out).toContain('Would migrate from schema version 0');
  });

  test('refuses a name that cannot be a schema, and says where it was given', async () => {
    const said = await cliOn(connectionString, { LOCKKEEPER_SCHEMA: 'No' })(['runs', 'list']);
    expect([said.code, said.err]).toEqual([1, expect.stringContaining('LOCKKEEPER_SCHEMA')]);
  });

  test('says what to do where this schema was not migrated', async () => {
    const said = await cliOn(connectionString, { LOCKKEEPER_SCHEMA: 'third' })(['runs', 'list']);
    expect([said.code, said.err]).toEqual([1, expect.stringContaining('lockkeeper migrate')]);
  });
});
