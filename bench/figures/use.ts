/** How much of a limit is used while work waits for it. */

import { type Flow, flowThrough, secondsFor, systemsThatKeep } from '../lib/flow.ts';
import { repeat } from '../lib/measure.ts';
import { overshootOf, useOf } from '../lib/observer.ts';
import type { Bench, Context, Figure, Result, System, Verdict } from '../types.ts';

type Case = {
  name: string;
  capacity: number;
  handlerMs: number;
  /** A limit of runs, which is ours only. */
  runs?: true;
  count: number;
  /** How many pieces each of the four processes takes at once: together more than the limit. */
  room: number;
  /** Percent; undefined: only listed. */
  goal?: number;
  stretch?: number;
};

const cases: readonly Case[] = [
  { name: 'limit 10 × 50 ms', capacity: 10, handlerMs: 50, count: 400, room: 10, goal: 95, stretch: 97 },
  { name: 'limit 1 × 200 ms', capacity: 1, handlerMs: 200, count: 20, room: 10, goal: 98 },
  { name: 'run limit 10 × 50 ms', capacity: 10, handlerMs: 50, runs: true, count: 400, room: 10, goal: 92 },
  { name: 'limit 100 × 5 ms', capacity: 100, handlerMs: 5, count: 5_000, room: 50 },
];

function flowOf(context: Context, { capacity, handlerMs, runs, count, room }: Case): Flow {
  const limit = { kind: 'key', capacity, ...(runs ? { runs } : {}) } as const;
  const seconds = secondsFor(context);
  const work = { limit, handlerMs };
  return {
    work,
    processes: 4,
    room,
    count,
    seconds,
    least: 4 * capacity,
    warmUp: 2 * capacity,
    tellingSeconds: context.quick ? 0.3 : 0.5,
  };
}

async function systemsFor({ limit }: Flow['work']): Promise<System[]> {
  const all = await systemsThatKeep(limit);
  return limit.kind === 'key' && limit.runs ? all.filter(({ name }) => name === 'lockkeeper') : all;
}

async function measure(context: Context, one: Case): Promise<Figure> {
  const flow = flowOf(context, one);
  const what = { bench: 'use', case: one.name, unit: '%' };
  const results = await repeat(context, what, await systemsFor(flow.work), async (place, times) =>
    (await flowThrough(place, flow, times)).map((handled) => ({
      value: 100 * useOf(handled, one.capacity),
      overshoot: overshootOf(handled, one.capacity),
    })),
  );
  return { results, verdicts: verdictsOf(one, results) };
}

const percent = (value: number) => `${value.toFixed(1)} %`;

/** The goal, and that no peer is above that kept the limit: with an overshoot there is no use to speak of. */
function verdictsOf({ name, goal, stretch }: Case, results: readonly Result[]): Verdict[] {
  const [own, ...peers] = results;
  if (!own) throw new Error(`Nothing was measured for ${name}.`);
  const exact = own.overshoot === 0;
  const about = { bench: 'use', case: name };
  const over = exact ? '' : `, overshoot ${own.overshoot}`;
  const verdicts: Verdict[] = [];
  if (goal !== undefined) {
    const more = stretch === undefined ? '' : ` (stretch ${stretch} %)`;
    const met = exact && own.value >= goal;
    verdicts.push({ ...about, goal: `≥ ${goal} %${more}`, seen: percent(own.value) + over, met });
  }
  const kept = peers.filter(({ overshoot }) => overshoot === 0);
  const best = kept.toSorted((a, b) => b.value - a.value)[0];
  if (!best) return verdicts;
  const seen = `${percent(own.value)}${over}; ${best.system}: ${percent(best.value)}`;
  const met = exact && own.value > best.value;
  return [...verdicts, { ...about, goal: 'above every peer that was never over', seen, met }];
}

const run = (context: Context): Promise<Figure> =>
  context.parts(cases.map((one) => ({ name: one.name, measure: () => measure(context, one) })));

/** The figure `use`. */
export const use: Bench = {
  name: 'use',
  title: 'Use of a limit while work waits for it',
  about: `Four worker processes, all ready, with room for more than the limit together (ten each, fifty each for the limit of 100).
After a short warm-up all pieces are submitted in one go: 400 under the limit of 10, 20 under the limit of 1, 5,000 under
the limit of 100; a system that would take longer than 8 s (\`--quick\`: 2 s) gets as many as it does in that time; with \`--quick\` each peer is measured once.
*Use* = Σ(handler end − handler start) ÷ (capacity × (last end − first start)), from the handlers' marks. What a timer
fires late counts as work, for every system alike. More than 100 % is only possible over the limit: peers that were over
it are listed, and not compared. The run limit is \`max_concurrent_runs\`, which no peer has. A goal is
missed also when ours was ever over the limit.`,
  run,
};
