/** Work that flows through processes that are warm already: what the figures of slots, hand-over and speed share. */

import { allSystems } from '../systems/index.ts';
import type { Context, Item, Limit, System } from '../types.ts';
import { nowNs } from './marks.ts';
import type { Load, Place } from './measure.ts';
import { type Handled, handledOf } from './observer.ts';
import { type Pods, withPods } from './processes.ts';

/** All systems that can keep this limit, ours first. */
export async function systemsThatKeep(limit: Limit): Promise<System[]> {
  return (await allSystems()).filter(({ keeps }) => keeps(limit));
}

/** Of those, ours. */
export async function ours(): Promise<System> {
  const [first] = await systemsThatKeep({ kind: 'none' });
  if (first?.name !== 'lockkeeper') throw new Error('The first of all systems must be ours.');
  return first;
}

/** Work of a figure, sized for each system. */
export type Flow = Omit<Load, 'items'> & {
  /** Items that are measured. */
  count: number;
  /** A system that would need longer than so many seconds gets as many as it does in that time. */
  seconds: number;
  /** But no fewer than this. */
  least: number;
  /** Items that are worked through first of all, and not measured. */
  warmUp: number;
  /** A round of the warm-up that lasted so long tells how fast the system is. */
  tellingSeconds: number;
};

/** How long a slow system may take: one that needs a minute for what others do in two seconds says no more by it. */
export const secondsFor = ({ quick }: Context): number => (quick ? 2 : 8);

/** Items with `count` numbers from this one on; with `tenants`, of so many tenants in turn. */
export function itemsFrom(from: number, count: number, tenants?: number): Item[] {
  return Array.from({ length: count }, (_, i) => ({
    no: from + i,
    ...(tenants ? { tenant: `t${i % tenants}` } : {}),
  }));
}

/** From here to the last end. */
async function secondsUntilEnded(pods: Pods, count: number, submit: () => Promise<void>): Promise<number> {
  const before = nowNs();
  await submit();
  await pods.ended(count);
  return (nowNs() - before) / 1e9;
}

/**
 * Rounds of the warm-up, each twice as many as the one before, until one lasts long enough: statements are planned and
 * code is compiled then. Answers how many were worked through, and how many the system is to have now.
 */
async function warmed(pods: Pods, submit: (items: Item[]) => Promise<void>, flow: Flow) {
  const { count, seconds, least, warmUp, tellingSeconds } = flow;
  let done = 0;
  for (let round = warmUp; ; round *= 2) {
    const items = itemsFrom(done, round);
    done += round;
    const lasted = await secondsUntilEnded(pods, done, () => submit(items));
    if (lasted < tellingSeconds && round < count) continue;
    return { done, size: Math.min(count, Math.max(least, Math.floor((round / lasted) * seconds))) };
  }
}

/**
 * Prepares, starts the processes, works through the warm-up and then so many times through the items, which are submitted
 * from here in one go. Answers what the handlers saw of the latter, each time.
 */
export async function flowThrough(
  { system, url, folder }: Place,
  flow: Flow,
  times: number,
): Promise<Handled[][]> {
  const { work, processes, room } = flow;
  await system.prepare(url, work);
  return withPods({ system: system.name, url, work, processes, room, folder }, async (pods) => {
    const { submit, close } = await system.open(url, work);
    try {
      const { done, size } = await warmed(pods, submit, flow);
      for (let time = 0; time < times; time += 1) {
        await submit(itemsFrom(done + time * size, size));
        await pods.ended(done + (time + 1) * size);
      }
      const all = handledOf(await pods.stop(), itemsFrom(0, done + times * size));
      return Array.from({ length: times }, (_, time) => numbered(all, done + time * size, size));
    } finally {
      await close();
    }
  });
}

/** Those with `count` numbers from this one on. */
export const numbered = (all: readonly Handled[], from: number, count: number): Handled[] =>
  all.filter(({ no }) => no >= from && no < from + count);
