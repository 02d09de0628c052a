/** Hand-overs of a slot, seen from the marks of one or several groups of processes. */

import type { Context, Item, Work } from '../types.ts';
import { itemsFrom, ours } from './flow.ts';
import type { Mark } from './marks.ts';
import { inPlace, type Place } from './measure.ts';
import { type Gap, gapsOf, handledOf, overshootOf } from './observer.ts';
import { type Pods, withPods } from './processes.ts';

/** Where slots are handed over. */
export type HandOver = {
  capacity: number;
  /** A limit of runs in place of a pool of steps. */
  runs?: true;
  /** Pieces that are measured in one repeat. */
  count: number;
  /** The jobs that take turns, each served by a process of its own, so that every hand-over is to the other process. */
  jobs?: readonly [string, string];
};

export type HandedOver = { gaps: Gap[]; overshoot: number };

const handlerMs = 50;
const room = 20;

function workOf({ capacity, runs }: HandOver): Work {
  return { limit: { kind: 'key', capacity, ...(runs ? { runs } : {}) }, handlerMs };
}

/** Hand-overs of one repeat, in a new database. */
export async function handOver(context: Context, over: HandOver): Promise<HandedOver> {
  return inPlace(context, await ours(), (place) => inProcesses(place, over));
}

async function inProcesses(place: Place, over: HandOver): Promise<HandedOver> {
  const { system, url, folder } = place;
  const work = workOf(over);
  const [first, second] = over.jobs ?? [];
  const options = { system: system.name, url, processes: 1, room };
  const served = (job: string | undefined): Work => ({ ...work, ...(job === undefined ? {} : { job }) });
  await system.prepare(url, served(first));
  return withPods({ ...options, work: served(first), folder: `${folder}-1` }, (one) => {
    if (second === undefined) return through(place, over, [one]);
    return withPods({ ...options, work: served(second), folder: `${folder}-2` }, (other) =>
      through(place, over, [one, other]),
    );
  });
}

/** Each piece for the next job in turn. */
function inTurns(items: readonly Item[], jobs: readonly string[]): Item[] {
  return items.map((item, i) => {
    const job = jobs[i % jobs.length];
    return job === undefined ? item : { ...item, job };
  });
}

type Feed = { items: readonly Item[]; pods: readonly Pods[]; submit(items: readonly Item[]): Promise<void> };

/** All at once, and until all have ended. */
async function allAtOnce({ items, pods, submit }: Feed): Promise<void> {
  await submit(items);
  await Promise.all(pods.map((each) => each.ended(items.length / pods.length)));
}

/**
 * One is at work in one process and the next one waits for the other: a worker that had more of its own would go on with
 * them. It is submitted when the one before the last has ended, and has the rest of a handler's time to get in line.
 */
async function inTurn({ items, pods, submit }: Feed): Promise<void> {
  for (const [i, item] of items.entries()) {
    if (i >= 2) await endedBefore(pods, i - 1);
    await submit([item]);
  }
  await endedBefore(pods, items.length);
}

/** Resolves when the first `count` items have ended, of which each process has every other one. */
async function endedBefore(pods: readonly Pods[], count: number): Promise<void> {
  await Promise.all(pods.map((each, i) => each.ended(Math.ceil((count - i) / pods.length))));
}

/** How many are not measured at first: statements are planned and code is compiled then. */
export const warmUpOf = ({ capacity }: Pick<HandOver, 'capacity'>): number => 2 * capacity + 8;

async function through({ system, url }: Place, over: HandOver, pods: readonly Pods[]): Promise<HandedOver> {
  const { capacity, count, jobs = [] } = over;
  const warmUp = warmUpOf(over);
  const { submit, close } = await system.open(url, workOf(over));
  try {
    const items = inTurns(itemsFrom(0, warmUp + count), jobs);
    await (pods.length === 1 ? allAtOnce : inTurn)({ items, pods, submit });
    const marks: Mark[][] = [];
    for (const each of pods) marks.push(...(await each.stop()));
    const handled = handledOf(marks, items);
    const gaps = gapsOf(handled, capacity).filter(({ no }) => no >= warmUp);
    return { gaps, overshoot: overshootOf(handled, capacity) };
  } finally {
    await close();
  }
}
