import { afterEach, expect, test } from 'vitest';
import { applyConfig } from '../src/limits/apply.ts';
import { rejectedQueue, submitQueue, ticketQueue } from '../src/queue/boss.ts';
import { intake, type Rejection } from '../src/queue/intake.ts';
import { openBossStage } from './support/pg-boss.ts';

// The client is a program that knows only pg-boss.
const { database, queue, stranger: client, rows, outside, cancelAll } = await openBossStage();
const clear = async () => {
  await cancelAll();
  for (const name of [submitQueue, rejectedQueue, ticketQueue]) await client.deleteAllJobs(name);
};
afterEach(clear);

const queuedRuns = async () =>
  Number((await rows("select count(*) as n from lockkeeper.runs where state = 'queued'"))[0]?.n);
const waiting = async () =>
  Number(
    (
      await rows(`select count(*) as n from pgboss.job where name = '${submitQueue}' and state < 'completed'`)
    )[0]?.n,
  );
const send = (data: unknown) => client.send(submitQueue, data as object);
/** 99 good ones and this one in their middle; answers its id. */
const sendWithOneBad = async (bad: object) => {
  let id: string | null = null;
  for (let i = 0; i < 100; i++) {
    const sent = await send(i === 37 ? bad : { job: 'load', input: { i } });
    if (i === 37) id = sent;
  }
  return id;
};
const take = async (all: number, bad: number) =>
  expect(await intake(queue, database, 1_000)).toEqual({ submitted: all - bad, rejected: bad, more: false });
const rejected = async () => {
  const jobs = await client.fetch<Rejection>(rejectedQueue, { batchSize: 100 });
  return jobs.map((job) => job.data);
};

test('a submission becomes a run with its ticket', async () => {
  await send({ job: 'load', input: { table: 'a' }, tags: { customer: 'acme' }, priority: 3, key: 'first' });
  expect(await outside()).toEqual({ submissions: true, strays: false });
  expect(await intake(queue, database)).toEqual({ submitted: 1, rejected: 0, more: false });
  const found = await rows("select job, tags, priority, state from lockkeeper.runs where key = 'first'");
  expect(found).toEqual([{ job: 'load', tags: { customer: 'acme' }, priority: 3, state: 'queued' }]);
  const data = { job: 'load', deployment: 'default', tags: { customer: 'acme' } };
  expect(await client.findJobs(ticketQueue)).toMatchObject([{ priority: 3, data }]);
  expect(await waiting()).toBe(0);
});

test('submissions become runs in the order in which they were sent', async () => {
  const [{ last } = {}] = await rows('select coalesce(max(run_id), 0) as last from lockkeeper.runs');
  for (let i = 0; i < 30; i++) await send({ job: 'load', tags: { i: String(i) } });
  await intake(queue, database);
  const found = await rows(
    "select tags ->> 'i' as i from lockkeeper.runs where run_id > $1 order by run_id",
    [last],
  );
  expect(found.map(({ i }) => Number(i))).toEqual(Array.from({ length: 30 }, (_, i) => i));
});

test('a caller who sits on a submission with the same key holds the intake up for a moment only', async () => {
  await send({ job: 'load', key: 'slow' });
  const client = await database.pool.connect();
  await client.query('begin');
  await client.query(`select * from lockkeeper.submit('[{ "job": "load", "key": "slow" }]')`);
  await expect(intake(queue, database)).rejects.toMatchObject({ code: '55P03' });
  await client.query('commit');
  client.release();
  await take(1, 0);
});

test('of an empty queue a tick takes nothing', async () => {
  expect(await outside()).toMatchObject({ submissions: false });
  await take(0, 0);
});

test('one bad submission among 99 good ones goes to lockkeeper.rejected, and 99 run', async () => {
  const id = await sendWithOneBad({ job: 'load', prio: 1 });
  await take(100, 1);
  expect(await queuedRuns()).toBe(99);
  const tickets = await rows(`select count(*)::int as n from pgboss.job where name = '${ticketQueue}'`);
  expect(tickets[0]?.n).toBe(99);
  expect(await waiting()).toBe(0);
  expect(await rejected()).toEqual([
    {
      submission: { job: 'load', prio: 1 },
      field: 'prio',
      error: expect.stringContaining('priority'),
      submitted_id: id,
      submitted_at: expect.stringMatching(/^\d{4}-\d\d-\d\dT/),
    },
  ]);
});

test('one that only the database refuses does not stop 99 either', async () => {
  // A definition of limits after which a run with so many tags would need more than 64 keys.
  const tags = Object.fromEntries(Array.from({ length: 70 }, (_, i) => [`t${i}`, 'x']));
  const limits = Object.keys(tags).map((key) => ({ key, limit: 5 }));
  await applyConfig(database.execute, { concurrency: { runs: { tag_concurrency_limits: limits } } });
  const bad: [object, string | null, string][] = [
    [{ job: 'nowhere' }, 'job', 'not registered'],
    [{ job: 'load', tags }, null, '64'],
    [{ job: 'load', key: 'k'.repeat(501) }, 'key', '500'],
    [{ job: 'load', start_at: '2031-02-30T00:00:00Z' }, 'start_at', '2031-02-30'],
  ];
  for (const [submission, field, text] of bad) {
    await sendWithOneBad(submission);
    await take(100, 1);
    expect(await queuedRuns()).toBe(99);
    expect(await waiting()).toBe(0);
    expect(await rejected()).toMatchObject([{ submission, field, error: expect.stringContaining(text) }]);
    await clear();
  }
  await applyConfig(database.execute, {});
});

test('what no JSON of ours can hold, written to pg-boss in SQL, is rejected, and does not stop others', async () => {
  const insert = (data: string) =>
    rows(`insert into pgboss.job (name, data) values ('${submitQueue}', (${data})::jsonb) returning id`);
  const deep = `repeat('[', 6000) || repeat(']', 6000)`;
  const [first] = await insert(`'{"job": "load", "input": ' || ${deep} || '}'`);
  await insert(deep);
  await insert(`'{"job": "load", "input": 1e400}'`);
  await send({ job: 'load' });
  await take(4, 3);
  expect([await queuedRuns(), await waiting()]).toEqual([1, 0]);
  const found = await rejected();
  expect(found.map(({ field }) => field).toSorted()).toEqual(['input', expect.any(String), 'the submission']);
  // Too deep to be repeated: it stays in pg-boss's own job.
  const tooDeep = found.find(({ submitted_id }) => submitted_id === first?.id);
  expect(tooDeep).toMatchObject({ submission: null, error: expect.stringContaining(String(first?.id)) });
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
