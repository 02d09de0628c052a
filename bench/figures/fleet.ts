/** Many pods: what they send while idle, and how fast a slot goes from one to another. */

import { findPgBouncer } from '../../test/support/pgbouncer.ts';
import { handlerMs, podCount, processes, type Rates, type Seen, seenOf } from '../lib/fleet.ts';
import { listed } from '../lib/lines.ts';
import { together } from '../lib/parts.ts';
import { quantile } from '../lib/stats.ts';
import type { Bench, Context, Figure, Result, Verdict } from '../types.ts';

/** What is seen of a fleet, with what it must reach. */
type Case = { name: string; goalMs: number };

const kinds = [
  { name: 'one job for all', ownJobs: false },
  { name: 'a job for each pod', ownJobs: true },
];
/** It takes long to start so many pods. */
const seconds = { quick: 300, full: 900 };

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

function figureOf(context: Context, one: Case, count: number, seen: Seen): Figure {
  if (seen.gaps.length < count)
    throw new Error(`Only ${seen.gaps.length} of ${count} hand-overs were seen: ${one.name}.`);
  const results = linesOf(one, seen);
  for (const { case: of, value, unit } of results) context.say(`${of} ${value.toPrecision(3)} ${unit}`);
  return { results, verdicts: verdictsOf(one, results) };
}

async function measure(context: Context, program: string, { name, ownJobs }: (typeof kinds)[number]) {
  const [idleSeconds, count] = context.quick ? [5, 50] : [20, 200];
  const { withoutWakes, withWakes } = await seenOf(context, program, { ownJobs, idleSeconds, count });
  return together(
    figureOf(context, { name: `without wakes, ${name}`, goalMs: 1_000 }, count, withoutWakes),
    figureOf(context, { name: `with wakes, ${name}`, goalMs: 50 }, count, withWakes),
  );
}

async function run(context: Context): Promise<Figure> {
  const program = findPgBouncer();
  if (!program) {
    context.say('not measured: there is no program pgbouncer in PATH, /usr/sbin or /usr/local/sbin');
    return { results: [], verdicts: [] };
  }
  // Starting so many pods takes most of the time.
  const measured = context.quick ? kinds.filter(({ ownJobs }) => !ownJobs) : kinds;
  return context.parts(
    measured.map((kind) => ({
      name: kind.name,
      seconds: context.quick ? seconds.quick : seconds.full,
      measure: () => measure(context, program, kind),
    })),
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
listens on a direct connection (\`wakesConnectionString\`). It is one fleet: its direct connections are held up by a relay in the bench's process until all without wakes is measured. Once, no repeats; quick without *a job for each pod*. It throws when a piece is lost or there were fewer hand-overs. Without a program \`pgbouncer\` it says so and measures nothing.`,
  run,
};
