import { PgBoss } from 'pg-boss';
import { afterAll, afterEach, expect, test } from 'vitest';
import { openQueue, rejectedQueue, submitQueue, ticketQueue } from '../src/queue/boss.ts';
import { hasSubmissions, intake, type Rejection } from '../src/queue/intake.ts';
import { testDatabase } from './support/database.ts';

const database = await testDatabase();
const queue = await openQueue(database);
// A program that knows only pg-boss.
const client = new PgBoss({
  connectionString: database.connectionString,
  supervise: false,
  schedule: false,
  migrate: false,
});
await client.start();
afterAll(async () => {
  await client.stop({ graceful: false });
  await queue.close();
});

const rows = async (text: string, values: unknown[] = []) => (await database.execute(text, values)).rows;
await rows('select lockkeeper.register($1)', [
  JSON.stringify({ job: 'load', version: '1', steps: [{ name: 'only' }], limits: [] }),
]);
afterEach(async () => {
  const ids = await rows("select run_id from lockkeeper.runs where state = 'queued'");
  await rows('select lockkeeper.cancel($1)', [ids.map((row) => row.run_id)]);
  for (const name of [submitQueue, rejectedQueue]) await client.deleteAllJobs(name);
});

const queuedRuns = async () =>
  Number((await rows("select count(*) as n from lockkeeper.runs where state = 'queued'"))[0]?.n);
const waiting = async () =>
  Number(
    (
      await rows(`select count(*) as n from pgboss.job where name = '${submitQueue}' and state < 'completed'`)
    )[0]?.n,
  );
const send = (data: unknown) => client.send(submitQueue, data as object);
const rejected = async () => {
  const jobs = await client.fetch<Rejection>(rejectedQueue, { batchSize: 100 });
  return jobs.map((job) => job.data);
};

test('a submission becomes a run with its ticket', async () => {
  await send({ job: 'load', input: { table: 'a' }, tags: { customer: 'acme' }, priority: 3, key: 'first' });
  expect((await rows(`select ${hasSubmissions(queue)} as due`))[0]?.due).toBe(true);
  expect(await intake(queue, database)).toEqual({ submitted: 1, rejected: 0, more: false });
  const found = await rows("select job, tags, priority, state from lockkeeper.runs where key = 'first'");
  expect(found).toEqual([{ job: 'load', tags: { customer: 'acme' }, priority: 3, state: 'queued' }]);
  const data = { job: 'load', deployment: 'default', tags: { customer: 'acme' } };
  expect(await client.findJobs(ticketQueue)).toMatchObject([{ priority: 3, data }]);
  expect(await waiting()).toBe(0);
});

test('an empty queue costs one statement', async () => {
  let statements = 0;
  const counted = {
    pool: database.pool,
    execute: (text: string, values: unknown[]) => {
      statements += 1;
      return database.execute(text, values);
    },
  };
  expect(await intake(queue, counted)).toEqual({ submitted: 0, rejected: 0, more: false });
  expect(statements).toBe(1);
});

test('one bad submission among 99 goes to lockkeeper.rejected, and 98 run', async () => {
  for (let i = 0; i < 99; i++) await send({ job: i === 37 ? 'nowhere' : 'load' });
  expect(await intake(queue, database)).toEqual({ submitted: 98, rejected: 1, more: false });
  expect(await queuedRuns()).toBe(98);
  expect(await waiting()).toBe(0);
  expect(await rejected()).toMatchObject([{ submission: { job: 'nowhere' }, field: 'job' }]);
});

test('what is wrong is named, whether zod or the database finds it', async () => {
  const bad: [unknown, string | null, string][] = [
    [{ job: 'load', priority: 'high' }, 'priority', 'high'],
    [{ job: 'load', tags: { size: 3 } }, 'tags.size', '3'],
    [{ input: {} }, 'job', 'missing'],
    [{ job: 'load', prio: 1 }, 'prio', 'priority'],
    [null, 'the submission', 'null'],
    [[{ job: 'load' }], 'the submission', 'job'],
    [{ job: 'nowhere' }, 'job', 'nowhere'],
    [{ job: 'load', deployment: 'moon' }, 'deployment', 'moon'],
  ];
  const ids: (string | null)[] = [];
  for (const [data] of bad) ids.push(await send(data));
  expect(await intake(queue, database)).toEqual({ submitted: 0, rejected: bad.length, more: false });
  const found = new Map((await rejected()).map((rejection) => [rejection.submitted_id, rejection]));
  bad.forEach(([submission, field, text], i) => {
    const rejection = found.get(String(ids[i]));
    expect(rejection).toMatchObject({ submission, field, error: expect.stringContaining(text) });
    expect(rejection?.submitted_at).toMatch(/^\d{4}-\d\d-\d\dT/);
  });
  expect(await waiting()).toBe(0);
});

test('more than a tick takes are taken by the next; several ticks at once share them', async () => {
  for (let i = 0; i < 25; i++) await send({ job: 'load' });
  const [first, second] = await Promise.all([intake(queue, database, 10), intake(queue, database, 10)]);
  expect((first?.submitted ?? 0) + (second?.submitted ?? 0)).toBeGreaterThanOrEqual(10);
  while ((await intake(queue, database, 10)).more);
  expect(await queuedRuns()).toBe(25);
});

test('what is no fault of a submission fails the tick and leaves all submissions', async () => {
  for (const key of ['a', 'b']) await send({ job: 'load', key });
  await rows('alter function lockkeeper.submit(jsonb, boolean) rename to missing');
  await expect(intake(queue, database)).rejects.toThrow('does not exist');
  await rows('alter function lockkeeper.missing(jsonb, boolean) rename to submit');
  expect(await waiting()).toBe(2);
  expect(await intake(queue, database)).toEqual({ submitted: 2, rejected: 0, more: false });
});

test('a delayed submission waits for its time; pg-boss throttles', async () => {
  await client.sendAfter(submitQueue, { job: 'load' }, {}, 3_600);
  expect(await client.sendThrottled(submitQueue, { job: 'load' }, {}, 3_600)).not.toBeNull();
  expect(await intake(queue, database)).toEqual({ submitted: 1, rejected: 0, more: false });
  expect(await client.sendThrottled(submitQueue, { job: 'load' }, {}, 3_600)).toBeNull();
  expect(await waiting()).toBe(1);
});
