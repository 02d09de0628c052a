/** From submit to the handler's start, where nothing else is to be done. */

import { setTimeout as wait } from 'node:timers/promises';
import { itemsFrom } from '../lib/flow.ts';
import { nowNs } from '../lib/marks.ts';
import { inPlace, type Place } from '../lib/measure.ts';
import { handledOf } from '../lib/observer.ts';
import { type Pods, withPods } from '../lib/processes.ts';
import { quantile, ratioOfPairs, spread } from '../lib/stats.ts';
import { systemNamed } from '../systems/index.ts';
import type { Bench, Context, Figure, Item, Result, Verdict, Work } from '../types.ts';

/** Those that are told of new work, and need not look for it. */
const names = ['lockkeeper', 'pg-boss, batch 1', 'graphile-worker'];
const work: Work = { limit: { kind: 'none' }, handlerMs: 0 };
const room = 10;
const samples = 200;
const warmUp = 20;
/** Until what follows a handler is over, and everybody is idle. */
const restMs = 15;
const goals = { p50: 8, p99: 25 };
const shares = { p50: 0.5, p99: 0.99 };

/** A system that works and waits for the next item. */
type Ready = {
  name: string;
  pods: Pods;
  submit(items: readonly Item[]): Promise<void>;
  /** When each item was given to `submit`, in nanoseconds. */
  sent: number[];
};

type Case = { name: string; inside: boolean };

const cases: readonly Case[] = [
  { name: "submitted in the worker's process", inside: true },
  { name: 'submitted in another process', inside: false },
];

async function ready({ system, url, folder }: Place, inside: boolean, use: (one: Ready) => Promise<void>) {
  await system.prepare(url, work);
  await withPods(
    { system: system.name, url, work, processes: 1, room, folder, toldEveryMs: 1 },
    async (pods) => {
      const outside = inside ? undefined : await system.open(url, work);
      try {
        // Connects, so that the first item does not pay for it.
        if (inside) await pods.submit([]);
        const submit = (items: readonly Item[]) => (outside ? outside.submit(items) : pods.submit(items));
        await use({ name: system.name, pods, submit, sent: [] });
      } finally {
        await outside?.close();
      }
    },
  );
}

/** All systems at once, each in a database of its own: pairs are a fraction of a second apart. */
async function withAll(context: Context, inside: boolean, use: (all: Ready[]) => Promise<void>) {
  const next = async (all: Ready[]): Promise<void> => {
    const name = names[all.length];
    if (name === undefined) return use(all);
    await inPlace(context, await systemNamed(name), (place) =>
      ready(place, inside, (one) => next([...all, one])),
    );
  };
  await next([]);
}

async function sample({ pods, submit, sent }: Ready, no: number): Promise<void> {
  sent.push(nowNs());
  await submit(itemsFrom(no, 1));
  await pods.ended(no + 1);
  await wait(restMs);
}

/** Milliseconds of each sample, without those of the warm-up. */
async function latenciesOf({ pods, sent }: Ready): Promise<number[]> {
  const handled = handledOf(await pods.stop(), itemsFrom(0, sent.length));
  return handled
    .toSorted((a, b) => a.no - b.no)
    .map(({ no, start }) => (start - (sent[no] ?? Number.NaN)) / 1e6)
    .slice(warmUp);
}

async function measure(context: Context, { name, inside }: Case): Promise<Map<string, number[]>> {
  const latencies = new Map<string, number[]>();
  await withAll(context, inside, async (all) => {
    for (let no = 0; no < warmUp + samples; no += 1) {
      // Each is the first as often as the others: what one leaves to do falls on the next.
      const first = no % all.length;
      for (const one of [...all.slice(first), ...all.slice(0, first)]) await sample(one, no);
    }
    for (const one of all) latencies.set(one.name, await latenciesOf(one));
  });
  const told = [...latencies].map(([system, ms]) => `${system} ${quantile(ms, 0.5).toFixed(1)}`);
  context.say(`${name}, p50 in ms: ${told.join(', ')}`);
  return latencies;
}

/** p50 with the ratio of the pairs and its interval; p99 with the whole range. */
function linesOf({ name }: Case, latencies: ReadonlyMap<string, number[]>): Result[] {
  const own = latencies.get('lockkeeper') ?? [];
  return Object.entries(shares).flatMap(([share, p]) =>
    [...latencies].map(([system, ms]): Result => {
      const pairs = share === 'p50' && system !== 'lockkeeper' ? ratioOfPairs(own, ms) : undefined;
      return {
        bench: 'start',
        case: `${name}, ${share}`,
        system,
        value: quantile(ms, p),
        unit: 'ms',
        spread: pairs ? [pairs.low, pairs.high] : spread(ms),
        overshoot: null,
        ratio: pairs?.median ?? null,
      };
    }),
  );
}

function verdictsOf({ name }: Case, results: readonly Result[]): Verdict[] {
  return Object.entries(goals).map(([share, goal]) => {
    const own = results.find((each) => each.case === `${name}, ${share}` && each.system === 'lockkeeper');
    if (!own) throw new Error(`Nothing was measured for ${name}, ${share}.`);
    const { bench, case: of, value } = own;
    return { bench, case: of, goal: `≤ ${goal} ms`, seen: `${value.toFixed(1)} ms`, met: value <= goal };
  });
}

async function figureOf(context: Context, one: Case): Promise<Figure> {
  const results = linesOf(one, await measure(context, one));
  return { results, verdicts: verdictsOf(one, results) };
}

const run = (context: Context): Promise<Figure> =>
  context.parts(cases.map((one) => ({ name: one.name, measure: () => figureOf(context, one) })));

/** The figure `start`. */
export const start: Bench = {
  name: 'start',
  title: 'From submit to the start of the handler, on an idle system',
  about: `Each system has one worker process and a database of its own; all are idle. In ${samples} rounds each gets one piece, in turn and
each as often first as the others, ${restMs} ms after the handler before has ended. The clock runs from just before the submission is
called to the handler's first mark, by the machine's monotonic clock; there is no limit, and the handler does nothing. *In
the worker's process*: the worker process submits to itself (the clock begins before it is told to, a tenth of a
millisecond for all alike). *In another process*: the bench submits, and the worker must hear of it. pg-boss and
graphile-worker hear by LISTEN. The ratio is the median of ours ÷ theirs over the pairs, and the spread of such a line
is the 95 % interval of that median; of the others it is the least and the greatest.`,
  run,
};
