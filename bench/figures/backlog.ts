/** Whether what is blocked costs those that are not. */

import { oneKey, oneLane, ownKeys, type Shape, shapes, withBacklog } from '../lib/backlog.ts';
import { withPgBossBacklog } from '../lib/backlog-pg-boss.ts';
import { listed, repeated } from '../lib/lines.ts';
import { nowNs } from '../lib/marks.ts';
import { median, ratioOfPairs, spread } from '../lib/stats.ts';
import type { Bench, Context, Figure, Part, Result, Verdict } from '../types.ts';

const bench = 'backlog';
const unit = 'ms';
const mostRatio = 1.3;
const mostSleepMs = 2_000;
/** New lanes of which all must sleep soon. */
const newLanes = 100_000;
const warmUp = 10;
/** pg-boss takes as long for each as there are blocked: it gets as many pairs as fit in so many seconds, but no fewer than `fewestPairs`. */
const peerSeconds = { quick: 5, full: 20 };
/** How long one part may take, in seconds. */
const partSeconds = { quick: 150, full: 1_200 };
const fewestPairs = 20;

const sizesOf = ({ quick }: Context) => (quick ? [10_000, 100_000] : [10_000, 100_000, 1_000_000]);
const pairsOf = ({ quick }: Context) => (quick ? 60 : 200);
const manyLanes: readonly Shape[] = [oneKey, ownKeys];
const sleepName = ({ name }: Shape) => `${name}: new ones are asleep`;
const thousands = (n: number) => n.toLocaleString('en');

/** What is measured in a full and in an empty queue. */
type Pairs = { full: number[]; empty: number[] };

/** In turn, and each as often first as the other: what one leaves to do falls on the next. */
async function inPairs(
  count: number,
  seconds: number,
  full: Measurable,
  empty: Measurable,
  sample: (one: Measurable) => Promise<number>,
): Promise<Pairs> {
  const pairs: Pairs = { full: [], empty: [] };
  const until = nowNs() + seconds * 1e9;
  for (let no = 0; no < warmUp + count; no += 1) {
    if (nowNs() > until && no >= warmUp + fewestPairs) break;
    const order = no % 2 === 0 ? (['full', 'empty'] as const) : (['empty', 'full'] as const);
    for (const which of order) pairs[which].push(await sample(which === 'full' ? full : empty));
  }
  return { full: pairs.full.slice(warmUp), empty: pairs.empty.slice(warmUp) };
}

type Measured = { system: string; shape: string; blocked: number; what: string; pairs: Pairs };

/** What both systems let us measure. */
type Measurable = { startOfFree(): Promise<number>; handOver(): Promise<number> };

const starting = 'a free run starts';
const handingOver = 'the slot is given on';

async function measureBoth(
  given: Omit<Measured, 'what' | 'pairs'>,
  count: number,
  seconds: number,
  full: Measurable,
  empty: Measurable,
): Promise<Measured[]> {
  const starts = await inPairs(count, seconds, full, empty, (each) => each.startOfFree());
  const handOvers = await inPairs(count, seconds, full, empty, (each) => each.handOver());
  return [
    { ...given, what: starting, pairs: starts },
    { ...given, what: handingOver, pairs: handOvers },
  ];
}

function lineOf({ system, shape, blocked, what, pairs }: Measured, overshoot: number | null): Result {
  const { median: ratio, low, high } = ratioOfPairs(pairs.full, pairs.empty);
  const name = `${shape}, ${thousands(blocked)} blocked: ${what}`;
  return {
    bench,
    case: name,
    system,
    value: median(pairs.full),
    unit,
    spread: [low, high],
    overshoot,
    ratio,
  };
}

/** What the same took in the empty queue beside it. */
function emptyLine(all: readonly Measured[], system: string, shape: string, what: string): Result {
  const values = all.filter((each) => each.what === what).flatMap(({ pairs }) => pairs.empty);
  const name = `${shape}, none blocked: ${what}`;
  return {
    bench,
    case: name,
    system,
    value: median(values),
    unit,
    spread: spread(values),
    overshoot: null,
    ratio: null,
  };
}

/** Grows the full queue from size to size, and measures both at each. */
async function atEachSize(
  context: Context,
  given: Pick<Measured, 'system' | 'shape'>,
  seconds: number,
  full: Measurable & { fill(upTo: number): Promise<number> },
  empty: Measurable,
): Promise<{ all: Measured[]; asleepMs: number }> {
  const all: Measured[] = [];
  let asleepMs = 0;
  for (const blocked of sizesOf(context)) {
    const began = nowNs();
    asleepMs = await full.fill(blocked);
    const filled = ((nowNs() - began) / 1e9).toFixed(0);
    const both = await measureBoth({ ...given, blocked }, pairsOf(context), seconds, full, empty);
    all.push(...both);
    const what = `${given.system}, ${given.shape}, ${thousands(blocked)} blocked (filled in ${filled} s)`;
    context.say(`${what}: ${told(both)}`);
  }
  return { all, asleepMs };
}

/** Ours in one shape. */
function measureOurs(context: Context, shape: Shape): Promise<Result[]> {
  const { server } = context;
  const given = { system: 'lockkeeper', shape: shape.name };
  return withBacklog(server, shape, 'empty', (empty) =>
    withBacklog(server, shape, 'full', async (full) => {
      const { all, asleepMs } = await atEachSize(context, given, Number.POSITIVE_INFINITY, full, empty);
      const lines = linesOf(all, Math.max(full.overshoot, empty.overshoot));
      const sleep = context.quick && manyLanes.includes(shape) ? [sleepLine(context, shape, [asleepMs])] : [];
      return [...lines, ...sleep];
    }),
  );
}

/** pg-boss, with one group. */
function measurePgBoss(context: Context): Promise<Result[]> {
  const { server } = context;
  const given = { system: 'pg-boss, fetch', shape: oneLane.name };
  return withPgBossBacklog(server, 'empty', (empty) =>
    withPgBossBacklog(server, 'full', async (full) => {
      const seconds = context.quick ? peerSeconds.quick : peerSeconds.full;
      const { all } = await atEachSize(context, given, seconds, full, empty);
      return linesOf(all, null);
    }),
  );
}

const told = (both: readonly Measured[]) =>
  both
    .map(({ what, pairs: { full, empty } }) => {
      const { median: ratio } = ratioOfPairs(full, empty);
      return `${what} after ${median(full).toFixed(1)} ms, ${ratio.toFixed(2)} × the empty queue`;
    })
    .join('; ');

function linesOf(all: readonly Measured[], overshoot: number | null): Result[] {
  const [first] = all;
  if (!first) throw new Error('Nothing was measured.');
  const { system, shape } = first;
  return [starting, handingOver].flatMap((what) => [
    emptyLine(all, system, shape, what),
    ...all.filter((each) => each.what === what).map((each) => lineOf(each, overshoot)),
  ]);
}

/** How long 100,000 new lanes are awake after the last of them was submitted. */
async function measureSleep(context: Context, shape: Shape): Promise<Result> {
  const values = await repeated(context, () =>
    withBacklog(context.server, shape, 'sleep', (backlog) => backlog.fill(newLanes)),
  );
  return sleepLine(context, shape, values);
}

function sleepLine(context: Context, shape: Shape, values: readonly number[]): Result {
  const result = listed(bench, sleepName(shape), unit, values);
  context.say(`${result.case} after ${result.value.toFixed(0)} ms`);
  return result;
}

function verdictsOf(results: readonly Result[]): Verdict[] {
  return results
    .filter(({ system, ratio }) => system === 'lockkeeper' && ratio !== null)
    .map(({ case: name, value, ratio, spread: [low, high], overshoot }) => ({
      bench,
      case: name,
      goal: `≤ ${mostRatio} × the empty queue`,
      seen: `${ratio?.toFixed(2)} × (${low.toFixed(2)}–${high.toFixed(2)}), ${value.toFixed(1)} ms`,
      met: ratio !== null && ratio <= mostRatio && overshoot === 0,
    }));
}

function sleepVerdict({ case: name, value }: Result): Verdict[] {
  if (!manyLanes.some((shape) => sleepName(shape) === name)) return [];
  const seen = `${value.toFixed(0)} ms`;
  return [{ bench, case: name, goal: `≤ ${mostSleepMs} ms`, seen, met: value <= mostSleepMs }];
}

function run(context: Context): Promise<Figure> {
  const part = (name: string, measure: () => Promise<Result[]>): Part => ({
    name,
    seconds: context.quick ? partSeconds.quick : partSeconds.full,
    measure: async () => {
      const results = await measure();
      return { results, verdicts: [...verdictsOf(results), ...results.flatMap(sleepVerdict)] };
    },
  });
  return context.parts([
    ...shapes.map((shape) => part(shape.name, () => measureOurs(context, shape))),
    // Filling takes far longer than what is measured; if quick, the filling above has it.
    ...(context.quick ? [] : manyLanes).map((shape) =>
      part(sleepName(shape), async () => [await measureSleep(context, shape)]),
    ),
    part('pg-boss', () => measurePgBoss(context)),
  ]);
}

/** The figure `backlog`. */
export const backlog: Bench = {
  name: bench,
  title: 'A free run, and a slot given on, in front of blocked ones',
  about: `Two databases on the same server, each with a coordinator and a worker (room 10) in the bench's process: in one, so many
runs are blocked, the other is empty. *One lane*: all wait for a tag limit of 1, which one run holds. *100 k lanes behind
one key*: the same, but they have one of 100,000 values of another tag whose limit is never full, and so lanes of their own.
*Each behind its own key*: they have one of 100,000 values of a tag whose limit is 0 for each. The blocked are submitted in
batches of 1,000; the queue grows from size to size in the same database. *A free run starts*: from the call of submit to the
first line of its handler. *The slot is given on*: from the last line of the handler that holds the limit of 1 to the first
line of the next one's; its successor is the first of the blocked (in the last shape, where each is behind a key of
its own, a run submitted for this). Samples are taken in turn in both databases, each as often first as the other, 200
pairs (\`--quick\`: 60) after ${warmUp} that do not count; the ratio is the median of full ÷ empty over the pairs, and the spread of such a
line the 95 % interval of that median. *New ones are asleep*: ${thousands(newLanes)} runs, each in a new lane, are submitted
as fast as one client can; from the commit of the last one until the coordinator finds nothing to lane and no open lane
(\`--quick\`: once, of the 90,000 with which the queue grows to 100,000). pg-boss has one group of \`groupConcurrency\` 1, with one job that runs; *a free run starts* is \`send\` and \`fetch\` until it
answers that job, *the slot is given on* is \`complete\` and \`fetch\`, with no polling interval in either, and as many pairs as
fit in ${peerSeconds.full} s (\`--quick\`: ${peerSeconds.quick} s). It throws when a handler does not start within a minute, when another job is fetched, or when at the end
not exactly the blocked are queued.`,
  run,
};
