/**
 * The intake is the one transaction of several statements: fetch, submit under savepoints, complete. It is stopped behind each
 * of them while others come, and comes itself to what others have not committed. Each submission is one run or one rejection.
 */

import { afterAll, beforeEach, expect, test } from 'vitest';
import { coordinate } from '../../src/coordinator/tick.ts';
import { type Executor, executor, openDatabase, pgBossDb } from '../../src/database.ts';
import { intake } from '../../src/queue/intake.ts';
import { ticketId } from '../../src/queue/tickets.ts';
import { submitRuns } from '../../src/runs.ts';
import { strangersBoss } from '../support/pg-boss.ts';
import { claimAll, openStage } from '../support/stage.ts';

const stage = await openStage();
const { database, queue } = stage;
const names = queue.names;
const stranger = await strangersBoss(database);
const load = await stage.register('load', { extract: {} });
const newer = await stage.register('load', { extract: {}, copy: { after: ['extract'] } });

/** Who stops: only this pool comes to the triggers. */
const stopping = openDatabase({ ...database, applicationName: 'stops', max: 2 });
afterAll(() => stopping.close());

/** Behind which statement it stops, each a lock of this number, for as long as it takes. */
const places = { fetched: 1, 'submitted in part': 2, completed: 3, 'not yet committed': 4 };
const stops = (when: string) => `when (current_setting('application_name') = 'stops' and ${when})`;
await database.pool.query(`
  create function public.stop() returns trigger language plpgsql set lock_timeout = 0 as $$
  begin perform pg_advisory_xact_lock_shared(tg_argv[0]::int); return null; end $$;
  create trigger stop1 after update on pgboss.job for each row ${stops("new.state = 'active'")} execute function public.stop('1');
  create trigger stop2 after insert on lockkeeper_data.runs for each row ${stops('true')} execute function public.stop('2');
  create trigger stop3 after update on pgboss.job for each row ${stops("new.state = 'completed'")} execute function public.stop('3');
  create constraint trigger stop4 after update on pgboss.job deferrable initially deferred
    for each row ${stops("new.state = 'completed'")} execute function public.stop('4')`);

/** Jobs of the submit queue in the order in which they were sent: the names of this test's own things are in them. */
let sent: string[];
let key: string;
let later: string;
let tests = 0;
beforeEach(async () => {
  tests += 1;
  key = `key ${tests}`;
  later = `later ${tests}`;
  await stage.register('load', { extract: {} });
  await stage.rows("select lockkeeper.add_deployment('pr-1', 'branch')");
  // Whom admission finds, and who can run it.
  await stage.submit(load);
  await stage.serve(load);
  sent = [];
  const submissions = [
    { job: 'load', key },
    { job: 'load', deployment: 'pr-1' },
    { job: 'load', branch: `made by ${tests}` },
    { job: 'load', prio: 3 },
    { job: later },
  ];
  for (const each of submissions) {
    const submission = { ...each, tags: { sent: `${tests}.${sent.length}` } };
    sent.push(String(await stranger.send(names.submit, submission)));
  }
});

type Other = {
  name: string;
  work: (execute: Executor) => Promise<unknown>;
  /** Of several transactions: nobody can come while it is open. */
  several?: boolean;
  /** What becomes of the submissions where that is not as usual: when it comes while the intake is no further than that place. */
  before?: { place: number; fates: string[] };
};

const usual = ['run', 'run', 'run', 'rejected', 'rejected'];
const statement = (text: string) => (execute: Executor) => execute(text, []);
const remove = (queued: string): Other => ({
  name: `delete_deployment, ${queued}`,
  work: statement(`select * from lockkeeper.delete_deployment('pr-1', '${queued}')`),
  before: { place: places.fetched, fates: usual.with(1, 'rejected') },
});
const others: Other[] = [
  { name: 'another coordinator', work: () => coordinate(database, queue), several: true },
  { name: 'submit with its key', work: (execute) => submitRuns(queue, execute, [{ job: 'load', key }]) },
  {
    name: 'submit with its key and admission',
    work: async (execute) => {
      await submitRuns(queue, execute, [{ job: 'load', key }]);
      await coordinate(database, queue);
    },
    several: true,
  },
  {
    name: 'submit to its branch',
    work: (execute) => submitRuns(queue, execute, [{ job: 'load', branch: `made by ${tests}` }]),
  },
  { name: 'lane', work: statement('select * from lockkeeper.lane()') },
  { name: 'admit', work: statement('select * from lockkeeper.admit()') },
  remove('refuse'),
  remove('cancel'),
  {
    name: 'register of another version',
    work: (execute) => execute('select lockkeeper.register($1)', [definition('load', 2)]),
  },
  {
    name: 'register of the job that is missing',
    work: (execute) => execute('select lockkeeper.register($1)', [definition(later, 1)]),
    before: { place: places['submitted in part'], fates: usual.with(4, 'run') },
  },
  {
    name: 'cancel of the submission in pg-boss',
    work: (execute) => stranger.cancel(names.submit, String(sent[0]), { db: pgBossDb(execute) }),
  },
  {
    name: 'cancel of its ticket in pg-boss',
    work: async (execute) => {
      const { rows } = await execute('select last_value as id from lockkeeper_data.runs_id_seq', []);
      const ids = [0n, 1n, 2n, 3n].map((n) => ticketId(String(BigInt(String(rows[0]?.id)) - n)));
      return stranger.cancel(names.tickets, ids, { db: pgBossDb(execute) });
    },
  },
];

function definition(job: string, steps: number): string {
  const named = Array.from({ length: steps }, (_, i) => ({ name: `step${i}` }));
  return JSON.stringify({ job, version: `of ${steps}`, steps: named });
}

/** Starts the works in order while what is held is held, each once all before it have ended or wait; then lets go. */
async function playWhile<T>(
  held: (execute: Executor) => Promise<unknown>,
  works: (() => Promise<T>)[],
  end: 'commit' | 'rollback' = 'commit',
): Promise<T[]> {
  const holder = await database.pool.connect();
  try {
    await holder.query('begin isolation level read committed');
    await held(executor(holder));
    let moving = 0;
    const started: Promise<T>[] = [];
    for (const work of works) {
      moving += 1;
      started.push(
        work().finally(() => {
          moving -= 1;
        }),
      );
      while (moving > (await waiting()));
    }
    await holder.query(end);
    return await Promise.all(started);
  } finally {
    await holder.query('rollback');
    holder.release();
  }
}

async function waiting(): Promise<number> {
  const [row] = await stage.rows(`select count(*) as n from pg_stat_activity
    where datname = current_database() and backend_type = 'client backend' and pg_blocking_pids(pid) <> '{}'`);
  return Number(row?.n);
}

const at = (place: number) => statement(`select pg_advisory_xact_lock(${place})`);

/** What became of each submission; a run with its key is its run. */
async function fates(): Promise<unknown[]> {
  const found = await stage.rows(
    `select concat_ws(' and ',
       (select string_agg('run', ' and ') from lockkeeper.runs r where r.tags ->> 'sent' = j.data -> 'tags' ->> 'sent' or r.key = j.data ->> 'key'),
       (select string_agg('rejected', ' and ') from pgboss.job e where e.name = '${names.rejected}' and e.data ->> 'submitted_id' = j.id::text),
       nullif(j.state::text, 'completed')) as fate
     from unnest($1::uuid[]) with ordinality s(id, no) join pgboss.job j on j.id = s.id order by s.no`,
    [sent],
  );
  return found.map(({ fate }) => fate);
}

/** All that is left is taken, runs and ends. */
async function drain(): Promise<void> {
  const versions = await stage.rows('select job, version from lockkeeper_data.job_versions');
  const lease = await stage.serve(load, newer);
  await stage.rows('select lockkeeper.serve($1, $2)', [lease.id, JSON.stringify(versions)]);
  for (let round = 0; round < 5; round += 1) {
    await stage.tick();
    const steps = await claimAll(lease);
    await lease.finish(steps.map((step) => ({ ...step, outcome: 'succeeded', output: null })));
  }
  await stage.tick();
  const states = await stage.rows(
    "select state from lockkeeper.runs where state not in ('succeeded', 'canceled')",
  );
  const tickets = await stage.rows(`select id from pgboss.job where name = '${names.tickets}'`);
  expect({ states, tickets }).toEqual({ states: [], tickets: [] });
}

async function becomes(expected: string[]): Promise<void> {
  expect(await stage.rows('select * from lockkeeper.violations')).toEqual([]);
  await drain();
  expect(await fates()).toEqual(expected);
}

const stopsHere = (): Promise<unknown> => intake(queue, stopping);
const comesThen = async <T>(work: () => Promise<T>): Promise<T> => {
  expect(await waiting(), 'the intake was stopped').toBe(1);
  return work();
};
for (const { name, work, several, before } of others) {
  test.each(Object.entries(places))(`it has %s; ${name} comes`, async (_, place) => {
    await playWhile(at(place), [stopsHere, () => comesThen(() => work(database.execute))]);
    await becomes(before && place <= before.place ? before.fates : usual);
  });
  if (several) continue;
  test.each(['commit', 'rollback'] as const)(`${name} is open; it comes; then %s`, async (end) => {
    await playWhile(work, [() => intake(queue, database)], end);
    const canceled = name === 'cancel of the submission in pg-boss' && end === 'commit';
    await becomes(canceled ? usual.with(0, 'cancelled') : usual);
  });
}

test.each(Object.entries(places))('two take half each, one has %s', async (_, place) => {
  const [first, second] = await playWhile(at(place), [
    () => intake(queue, stopping, 3),
    () => comesThen(() => intake(queue, database, 3)),
  ]);
  expect([first, second]).toMatchObject([
    { submitted: 3, rejected: 0 },
    { submitted: 0, rejected: 2 },
  ]);
  await becomes(usual);
});
