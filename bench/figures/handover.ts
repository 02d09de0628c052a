/** From the end of a handler to the start of the next one on its slot. */

import { type HandOver, handOver, warmUpOf } from '../lib/gaps.ts';
import type { Gap } from '../lib/observer.ts';
import { quantile, spread } from '../lib/stats.ts';
import type { Bench, Context, Figure, Result, Verdict } from '../types.ts';

type Case = HandOver & {
  name: string;
  /** Milliseconds, by quantile. */
  goals: Readonly<Record<string, number>>;
};

const steps = { p50: 2.5, p99: 12 };
const runs = { p99: 25 };
const shares = { p50: 0.5, p99: 0.99 };
/** Fewer hand-overs than this say nothing about the slowest of a hundred. */
const fewest = 200;

const cases: readonly Case[] = [
  { name: 'same process, limit 1', capacity: 1, count: 72, goals: steps },
  { name: 'same process, limit 10', capacity: 10, count: 210, goals: steps },
  { name: 'other process, limit 1', capacity: 1, count: 72, jobs: ['left', 'right'], goals: steps },
  { name: 'across runs, limit 1', capacity: 1, runs: true, count: 72, goals: runs },
  { name: 'across runs, limit 10', capacity: 10, runs: true, count: 210, goals: runs },
];

type Measured = { rounds: number[][]; overshoot: number };

async function measure(context: Context, one: Case): Promise<Measured> {
  const rounds: number[][] = [];
  let overshoot = 0;
  // If quick, all repeats follow each other in the same processes.
  const times = context.quick ? context.repeats : 1;
  while (rounds.length < context.repeats) {
    const seen = await handOver(context, { ...one, count: times * one.count });
    overshoot = Math.max(overshoot, seen.overshoot);
    const gaps = seen.gaps.filter(({ samePod }: Gap) => samePod !== (one.jobs !== undefined));
    const ofEach = Map.groupBy(gaps, ({ no }) => Math.floor((no - warmUpOf(one)) / one.count));
    if (ofEach.size < times) throw new Error(`No slot was handed over: ${one.name}.`);
    for (const round of ofEach.values()) {
      const ms = round.map((gap) => gap.ms);
      rounds.push(ms);
      context.say(`${one.name}: p50 ${quantile(ms, shares.p50).toPrecision(3)} ms of ${ms.length}`);
    }
  }
  return { rounds, overshoot };
}

/** p50 and p99 over all hand-overs; the spread is that of the repeats. */
function linesOf({ name }: Case, { rounds, overshoot }: Measured): Result[] {
  return Object.entries(shares).map(([share, p]): Result => {
    const ofRounds = rounds.map((ms) => quantile(ms, p));
    return {
      bench: 'handover',
      case: `${name}, ${share}`,
      system: 'lockkeeper',
      value: quantile(rounds.flat(), p),
      unit: 'ms',
      spread: spread(ofRounds),
      overshoot,
      ratio: null,
    };
  });
}

function verdictsOf({ goals, name }: Case, results: readonly Result[]): Verdict[] {
  return results.flatMap(({ bench, case: of, value, overshoot }) => {
    const goal = goals[of.slice(name.length + 2)];
    if (goal === undefined) return [];
    const over = overshoot === 0 ? '' : `, overshoot ${overshoot}`;
    const met = value <= goal && overshoot === 0;
    return [{ bench, case: of, goal: `≤ ${goal} ms`, seen: `${value.toFixed(2)} ms${over}`, met }];
  });
}

async function figureOf(context: Context, one: Case): Promise<Figure> {
  const measured = await measure(context, one);
  const count = measured.rounds.flat().length;
  // A single repeat, to try it out, has fewer.
  if (context.repeats >= 3 && count < fewest)
    throw new Error(`Only ${count} hand-overs were seen, not ${fewest}: ${one.name}.`);
  const results = linesOf(one, measured);
  return { results, verdicts: verdictsOf(one, results) };
}

const run = (context: Context): Promise<Figure> =>
  context.parts(cases.map((one) => ({ name: one.name, measure: () => figureOf(context, one) })));

/** The figure `handover`. */
export const handover: Bench = {
  name: 'handover',
  title: 'From the end of a handler to the start of the next one on its slot',
  about: `Steps of 50 ms wait for a pool of 1 or 10; their runs are admitted ahead (\`op_granularity_run_buffer\`). *Same process*: one process has them all. *Other process*: two processes
serve one job each, and the pieces of the two jobs take turns at the pool of 1: one is at work, and the next one waits for
the other process. *Across runs*: runs of one step under \`max_concurrent_runs\` 1 or 10, coordinator and worker in one
process; from the end of a run's handler, through the end of the run and the admission of the next, to the start of that
one's handler. The times come from the handlers' marks; of several slots the one that is free longest counts as taken
first. p50 and p99 are over the hand-overs of all repeats, at least ${fewest}; the spread is that of each repeat's. It throws
when a piece is lost or there were fewer hand-overs.`,
  run,
};
