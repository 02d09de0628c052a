/** Many pods: what they send while idle, and how fast a slot goes from one to another. */

import { findPgBouncer } from '../../test/support/pgbouncer.ts';
import { type Fleet, handlerMs, podCount, processes, type Rates, type Seen, seenOf } from '../lib/fleet.ts';
import { listed } from '../lib/lines.ts';
import { quantile } from '../lib/stats.ts';
import type { Bench, Context, Figure, Result, Verdict } from '../types.ts';

type Case = Pick<Fleet, 'wakes' | 'ownJobs'> & { name: string; goalMs: number };

const withoutWakes = { wakes: false, goalMs: 1_000 };
const withWakes = { wakes: true, goalMs: 50 };

const cases: readonly Case[] = [
  { name: 'without wakes, one job for all', ownJobs: false, ...withoutWakes },
  { name: 'without wakes, a job for each pod', ownJobs: true, ...withoutWakes },
  { name: 'with wakes, one job for all', ownJobs: false, ...withWakes },
  { name: 'with wakes, a job for each pod', ownJobs: true, ...withWakes },
];

const mostStatements = 300;
const mostPercent = 10;
const shares = { p50: 0.5, p99: 0.99 };

function ratesLines(name: string, { statements, serverCpu, podsCpu }: Rates): Result[] {
  return [
    listed('fleet', `${name}: statements`, '/s', [statements]),
    listed('fleet', `${name}: Postgres`, '% of a core', [100 * serverCpu]),
    listed('fleet', `${name}: the pods`, '% of a core', [100 * podsCpu]),
  ];
}

function linesOf(one: Case, { idle, busy, gaps, overshoot }: Seen): Result[] {
  const handOvers = Object.entries(shares).map(
    ([share, p]): Result => ({
      ...listed('fleet', `${one.name}: ${share}`, 'ms', [quantile(gaps, p)]),
      overshoot,
    }),
  );
  return [
    ...ratesLines(`${one.name}, idle`, idle),
    ...handOvers,
    ...ratesLines(`${one.name}, at work`, busy),
  ];
}

/** Idle is what it is without wakes; with them nothing else is sent. */
function verdictsOf({ name, goalMs }: Case, results: readonly Result[]): Verdict[] {
  const goals = [
    { of: `${name}, idle: statements`, most: mostStatements },
    { of: `${name}, idle: Postgres`, most: mostPercent },
    { of: `${name}: p99`, most: goalMs },
  ];
  return goals.map(({ of, most }) => {
    const seen = results.find((result) => result.case === of);
    if (!seen) throw new Error(`Nothing was measured for ${of}.`);
    const { bench, value, unit, overshoot } = seen;
    const over = overshoot ? `, overshoot ${overshoot}` : '';
    const met = value <= most && !overshoot;
    return { bench, case: of, goal: `≤ ${most} ${unit}`, seen: `${value.toFixed(1)} ${unit}${over}`, met };
  });
}

async function measure(context: Context, program: string, one: Case): Promise<Figure> {
  const [idleSeconds, count] = context.quick ? [5, 50] : [30, 200];
  const seen = await seenOf(context, program, { ...one, idleSeconds, count });
  if (seen.gaps.length < count)
    throw new Error(`Only ${seen.gaps.length} of ${count} hand-overs were seen: ${one.name}.`);
  const results = linesOf(one, seen);
  for (const { case: of, value, unit } of results) context.say(`${of} ${value.toPrecision(3)} ${unit}`);
  return { results, verdicts: verdictsOf(one, results) };
}

async function run(context: Context): Promise<Figure> {
  const program = findPgBouncer();
  if (!program) {
    context.say('not measured: there is no program pgbouncer in PATH, /usr/sbin or /usr/local/sbin');
    return { results: [], verdicts: [] };
  }
  // Starting so many pods takes most of the time.
  const measured = context.quick ? cases.filter(({ ownJobs }) => !ownJobs) : cases;
  return context.parts(
    measured.map((one) => ({ name: one.name, measure: () => measure(context, program, one) })),
  );
}

/** The figure `fleet`. */
export const fleet: Bench = {
  name: 'fleet',
  title: `${podCount} pods through PgBouncer: idle, and one key that goes from pod to pod`,
  about: `${podCount} pods in ${processes} processes, each a whole \`createLockkeeper\` with its own pool, coordinator and worker, through a PgBouncer in transaction mode. *Idle*: statements by PgBouncer's
own count (\`SHOW STATS\`: renewals are in it), processor time of all processes of Postgres and of the pods by \`/proc\`. Then steps of ${handlerMs} ms wait for a pool of 1, so that it is released each
${handlerMs} ms and a hand-over, which is measured from a handler's end to the next one's start by their marks. *One job for all*: each pod can go on, and the one that released the slot mostly takes it again itself.
*A job for each pod*: each piece is for another pod, so that the one that released the slot cannot go on, but any other whose piece waits. *Without wakes* nothing passes PgBouncer, and the other pod sees it at its next tick; *with wakes* each pod
listens on a direct connection (\`wakesConnectionString\`). Once, no repeats; quick without *a job for each pod*. It throws when a piece is lost or there were fewer hand-overs. Without a program \`pgbouncer\` it says so and measures nothing.`,
  run,
};
