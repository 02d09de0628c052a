/** Work goes on while a transaction keeps every dead row alive. */

import { setTimeout as delay } from 'node:timers/promises';
import type { Lockkeeper } from '../../src/index.ts';
import { listed } from '../lib/lines.ts';
import { config, Load, type Seen } from '../lib/load.ts';
import { nowNs } from '../lib/marks.ts';
import { withClient } from '../lib/server.ts';
import { expectNumber, numberOf, withOurs } from '../lib/sql.ts';
import { quantile } from '../lib/stats.ts';
import type { Bench, Context, Figure, Result, Verdict } from '../types.ts';

const bench = 'horizon';
const perSecond = 500;
const room = 500;
/** `seconds`: for the whole of it, which takes a minute (`--quick`) or twelve. */
const most = { p99Ms: 100, backlog: perSecond, seconds: { quick: 240, full: 1_500 } };
const drainMs = 60_000;
const lookEveryMs = 100;
const tablesShown = 6;

/** How many parts a load has, and how long each is. */
type Parts = { count: number; seconds: number };

const partsOf = ({ quick }: Context): { offered: Parts; pressed: Parts } =>
  quick
    ? { offered: { seconds: 10, count: 3 }, pressed: { seconds: 5, count: 1 } }
    : { offered: { seconds: 60, count: 10 }, pressed: { seconds: 60, count: 1 } };

const line = (name: string, value: number, unit: string, overshoot: number | null = null): Result => ({
  ...listed(bench, name, unit, [value]),
  overshoot,
});

/** Runs that are not at an end. */
const liveRuns = 'select coalesce(sum(runs), 0) as n from lockkeeper.states';
const liveOffered = `${liveRuns} where job = 'offered'`;

/** What was seen in a part, with how many runs are live at its end. */
type Part = { name: string; seconds: number; seen: Seen; live: number };

/** Puts on a load for a while, and looks at the end of each part of it. */
async function inParts(
  { database }: Lockkeeper,
  load: Load,
  { count, seconds }: Parts,
  put: (untilNs: number) => Promise<void>,
): Promise<Part[]> {
  const parts: Part[] = [];
  load.look();
  for (let part = 1; part <= count; part += 1) {
    await put(nowNs() + seconds * 1e9);
    const live = await numberOf(database, liveRuns);
    parts.push({ name: `after ${part * seconds} s`, seconds, seen: load.look(), live });
  }
  return parts;
}

/** A transaction that sees the database as it is now, for as long as `use` takes. Throws when it did not hold. */
async function withOldSnapshot<T>(url: string, lockkeeper: Lockkeeper, use: () => Promise<T>): Promise<T> {
  return withClient(url, async (client) => {
    await client.query('begin isolation level repeatable read');
    const { rows } = await client.query<{ pid: number }>(
      'select pg_backend_pid() as pid from (select count(*) from lockkeeper.runs) r',
    );
    const age = `select coalesce(age(backend_xmin), 0) as n from pg_stat_activity where pid = ${rows[0]?.pid}`;
    const before = await numberOf(lockkeeper.database, age);
    const answer = await use();
    const transactions = (await numberOf(lockkeeper.database, age)) - before;
    if (!(transactions > 0)) throw new Error('The old transaction did not hold its snapshot.');
    await client.query('rollback');
    return answer;
  });
}

/** Tables with the most dead rows, as the server counts them. */
async function deadRows({ database }: Lockkeeper): Promise<Result[]> {
  const { rows } = await database.execute(
    `select schemaname || '.' || relname as name, n_dead_tup as dead from pg_stat_user_tables
     where n_dead_tup > 0 order by n_dead_tup desc limit $1`,
    [tablesShown],
  );
  return rows.map(({ name, dead }) => line(`dead rows at the end: ${name}`, Number(dead), 'rows'));
}

/** Waits until these have ended. Throws when they do not, or when one did not succeed: then something was lost. */
async function drained({ database }: Lockkeeper, live: string): Promise<void> {
  const until = nowNs() + drainMs * 1e6;
  while ((await numberOf(database, live)) > 0) {
    if (nowNs() > until)
      throw new Error(`There are live runs ${drainMs / 1_000} s after the last submission.`);
    await delay(lookEveryMs);
  }
  const failed = "select count(*) as n from lockkeeper.runs where state in ('failed', 'canceled')";
  await expectNumber(database, 'runs that did not succeed', failed, 0);
}

type Measured = { free: Part[]; offered: Part[]; pressed: Part[]; dead: Result[]; overshoot: number };

function measure(context: Context): Promise<Measured> {
  const load = new Load();
  return withOurs(context.server, { jobs: load.jobs, config }, async ({ lockkeeper, url }) => {
    await lockkeeper.work({ room });
    await load.start(lockkeeper);
    try {
      return await underLoad(context, load, lockkeeper, url);
    } finally {
      load.end();
    }
  });
}

async function underLoad(
  context: Context,
  load: Load,
  lockkeeper: Lockkeeper,
  url: string,
): Promise<Measured> {
  const { offered, pressed } = partsOf(context);
  const told = async (what: string, parts: Promise<Part[]>) => {
    for (const part of await parts) context.say(`${what} ${toldOf(part)}`);
    return parts;
  };
  const press = (parts: Parts) => inParts(lockkeeper, load, parts, (untilNs) => load.press(untilNs));
  const offer = (untilNs: number) => load.offer(perSecond, untilNs);

  const free = await told('closed loop, no old transaction,', press({ ...pressed, count: 1 }));
  // What is left of it must be no part of what comes next.
  await drained(lockkeeper, liveOffered);
  const held = await withOldSnapshot(url, lockkeeper, async () => ({
    offered: await told('offered,', inParts(lockkeeper, load, offered, offer)),
    pressed: await told('closed loop,', press(pressed)),
    dead: await deadRows(lockkeeper),
  }));
  load.end();
  await drained(lockkeeper, liveRuns);
  return { free, ...held, overshoot: load.overshoot };
}

const p99 = (values: readonly number[]) => quantile(values, 0.99);

const toldOf = ({ name, seconds, seen, live }: Part) =>
  `${name}: ${(seen.ended / seconds).toFixed(0)} runs/s, ${live} live, start p99 ${p99(seen.starts).toFixed(1)} ms, hand-over p99 ${p99(seen.handOvers).toFixed(1)} ms`;

async function figureOf(context: Context): Promise<Figure> {
  const { free, offered, pressed, dead, overshoot } = await measure(context);
  const rate = ({ name, seconds, seen }: Part, what: string) =>
    line(`${what}, ${name}`, seen.ended / seconds, 'runs/s');
  const results = [
    ...offered.flatMap(({ name, seen, live }) => [
      line(`500/s offered, ${name}: live runs`, live, 'runs'),
      line(`500/s offered, ${name}: submit → start, p99`, p99(seen.starts), 'ms'),
      line(`500/s offered, ${name}: slot given on, p99`, p99(seen.handOvers), 'ms', overshoot),
    ]),
    ...free.map((part) => rate(part, 'closed loop, no old transaction')),
    ...pressed.map((part) => rate(part, 'closed loop')),
    ...dead,
  ];
  return { results, verdicts: verdictsOf(offered, overshoot) };
}

function verdictsOf(offered: readonly Part[], overshoot: number): Verdict[] {
  const mostLive = Math.max(...offered.map(({ live }) => live));
  const slowest = (values: (seen: Seen) => number[]) =>
    Math.max(...offered.map(({ seen }) => p99(values(seen))));
  const within = (name: string, value: number): Verdict => ({
    bench,
    case: name,
    goal: `p99 ≤ ${most.p99Ms} ms in each part`,
    seen: `${value.toFixed(1)} ms in the worst`,
    met: value <= most.p99Ms && overshoot === 0,
  });
  return [
    {
      bench,
      case: '500/s offered: keeps up',
      goal: `never more than ${most.backlog} live, a second's worth`,
      seen: `at most ${mostLive} at the end of a part`,
      met: mostLive <= most.backlog,
    },
    within(
      '500/s offered: submit → start',
      slowest(({ starts }) => starts),
    ),
    within(
      '500/s offered: slot given on',
      slowest(({ handOvers }) => handOvers),
    ),
  ];
}

const run = (context: Context): Promise<Figure> =>
  context.parts([
    {
      name: 'an old transaction',
      seconds: most.seconds[context.quick ? 'quick' : 'full'],
      measure: () => figureOf(context),
    },
  ]);

/** The figure `horizon`. */
export const horizon: Bench = {
  name: bench,
  title: 'While a transaction is open for minutes',
  about: `Coordinator and worker (room ${room}) are in the bench's process. A transaction at repeatable read takes its snapshot and
stays open, so that nothing that dies from then on can be vacuumed. For 10 minutes (\`--quick\`: 30 s) ${perSecond} runs of one step a second are
offered by the clock, whatever becomes of them, each under three limits that are never full (deployment, a tag of 100
values, a pool); with them, runs of 50 ms take turns at a tag limit of 1 for which five always wait. Then, with the
transaction still open, runs are submitted as fast as it goes, with at most 2,000 live, for a minute (\`--quick\`: 5 s); *no old
transaction* is the same before all this. Listed for each minute (10 s): live runs at its end, the p99
from the call of submit to the handler's start, and from the end of a handler in the slot of 1 to the start of the next one's;
of the closed loop, runs a second. Dead rows are those that the server's statistics count at the end, in the tables that have most.
It is done once. It throws when a run is handled twice, when one has not ended a minute after the last was submitted, or did not succeed, when a rule
was broken in the database, or when the old transaction lost its snapshot.`,
  run,
};
