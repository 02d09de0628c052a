/** pg-boss's delay, cron, throttle, debounce and retention, with its own clock moved by hand. */

import { afterEach, beforeEach, expect, test } from 'vitest';
import { submitQueue, ticketQueue } from '../src/queue/boss.ts';
import { intake } from '../src/queue/intake.ts';
import { createKeeper } from '../src/queue/keeper.ts';
import { insertTickets } from '../src/queue/tickets.ts';
import { openBossStage } from './support/pg-boss.ts';

// The client is a program that knows only pg-boss.
const { database, queue, stranger: client, rows, outside, cancelAll } = await openBossStage();

/** All of pg-boss's SQL reads this one function. */
const setTime = (time: string) =>
  rows(`create or replace function pgboss.job_now() returns timestamptz language sql stable
        as $$ select timestamptz '${time}' $$`);
beforeEach(() => setTime('2031-05-01 00:00:10Z'));
afterEach(async () => {
  await cancelAll();
  for (const name of [submitQueue, ticketQueue]) await client.deleteAllJobs(name);
});

const keys = async () =>
  (await rows("select key from lockkeeper.runs where state = 'queued' order by run_id")).map(
    ({ key }) => key,
  );
const due = async () => (await outside())?.submissions;
const take = () => intake(queue, database);
const submission = (key: string) => ({ job: 'load', key });

test('a delayed submission becomes a run when pg-boss says that it is due, and not before', async () => {
  await client.send(submitQueue, submission('at'), { startAfter: new Date('2031-05-01T01:00:00Z') });
  await client.send(submitQueue, submission('in'), { startAfter: 7_200 });
  await client.sendAfter(submitQueue, submission('at once'), {}, 0);
  expect(await due()).toBe(true);
  await take();
  expect(await keys()).toEqual(['at once']);
  await setTime('2031-05-01 00:59:59Z');
  expect(await due()).toBe(false);
  await setTime('2031-05-01 01:00:00Z');
  expect(await due()).toBe(true);
  await take();
  await setTime('2031-05-01 02:00:10Z');
  await take();
  expect(await keys()).toEqual(['at once', 'at', 'in']);
});

test('throttled: one run for each slot of time and key, also after the first was taken', async () => {
  const send = (key: string) => client.sendThrottled(submitQueue, submission(key), {}, 60, 'customer acme');
  expect(await send('first')).not.toBeNull();
  expect(await send('second')).toBeNull();
  await take();
  expect(await send('third')).toBeNull();
  const other = await client.sendThrottled(submitQueue, submission('other'), {}, 60, 'customer beta');
  expect(other).not.toBeNull();
  await take();
  await setTime('2031-05-01 00:01:00Z');
  expect(await send('fourth')).not.toBeNull();
  await take();
  expect(await keys()).toEqual(['first', 'other', 'fourth']);
});

test('debounced: what comes too soon is one run in the next slot', async () => {
  const send = (key: string) => client.sendDebounced(submitQueue, submission(key), {}, 60, 'acme');
  await send('now');
  await take();
  expect(await send('later')).not.toBeNull();
  expect(await send('too many')).toBeNull();
  await take();
  expect(await keys()).toEqual(['now']);
  await setTime('2031-05-01 00:01:10Z');
  await take();
  expect(await keys()).toEqual(['now', 'later']);
});

test('a slot by singletonSeconds alone; a rejected submission was sent in its slot, too', async () => {
  const send = (data: object) => client.send(submitQueue, data, { singletonSeconds: 60 });
  await send({ job: 'nowhere' });
  expect(await take()).toMatchObject({ submitted: 0, rejected: 1 });
  expect(await send(submission('same slot'))).toBeNull();
  await setTime('2031-05-01 00:01:00Z');
  await send(submission('next slot'));
  await take();
  expect(await keys()).toEqual(['next slot']);
});

test('cron: a schedule of a plain pg-boss client becomes one run at its time, with any number of keepers', async () => {
  await client.schedule(submitQueue, '0 3 * * *', { job: 'load' }, { tz: 'Europe/Vienna' });
  const keepers = [createKeeper(database), createKeeper(database)];
  const runsAt = async (time: string) => {
    await setTime(time);
    for (const keeper of keepers) await keeper.tick(Date.parse(time));
    await take();
    return (await keys()).length;
  };
  // In summer, three o'clock in Vienna is one o'clock in UTC.
  const counts = [];
  for (const minute of ['00:59:00', '00:59:40', '01:00:10', '01:00:20', '01:00:50', '01:01:30', '03:00:30'])
    counts.push(await runsAt(`2031-05-01T${minute}Z`));
  expect(counts[1]).toBe(0);
  expect(counts.slice(3)).toEqual([1, 1, 1, 1]);
  for (const minute of ['00:59:40', '01:00:20', '01:00:30']) await runsAt(`2031-05-02T${minute}Z`);
  expect(await keys()).toHaveLength(2);
  for (const keeper of keepers) await keeper.close();
  await client.unschedule(submitQueue);
});

test("60 years on, pg-boss's maintenance deletes what is old elsewhere, and no ticket", async () => {
  await client.createQueue('mail');
  await client.send('mail', { to: 'acme' });
  const tickets = Array.from({ length: 300 }, (_, i) => ({
    runId: String(1_000_000 + i),
    job: 'load',
    deployment: 'default',
    tags: {},
    priority: 0,
    startAt: i === 0 ? '2032-01-01T00:00:00Z' : null,
  }));
  await insertTickets(queue, database.execute, tickets);
  const count = async (name: string) =>
    Number((await rows('select count(*) as n from pgboss.job where name = $1', [name]))[0]?.n);
  const errors: Error[] = [];
  const keeper = createKeeper(database, { onError: (error) => errors.push(error) });
  for (const year of [2031, 2051, 2091]) {
    const time = `${year}-05-01T12:00:00Z`;
    await setTime(time);
    for (const later of [0, 120_000]) await keeper.tick(Date.parse(time) + later);
  }
  await keeper.close();
  expect(errors).toEqual([]);
  const [maintained] = await rows("select maintain_on from pgboss.queue where name = 'lockkeeper.runs'");
  expect(maintained?.maintain_on).toEqual(new Date('2091-05-01T12:00:00Z'));
  expect([await count('mail'), await count(ticketQueue)]).toEqual([0, 300]);
});
