/** What the marks say. It knows nothing of any system: only when which handler started and ended, and where. */

import type { Mark } from './marks.ts';

/** One item that was handled. */
export type Handled = {
  no: number;
  key: string;
  /** The number of the process that did it. */
  pod: number;
  /** Nanoseconds of the monotonic clock. */
  start: number;
  end: number;
};

/** A slot given from one handler to the next. */
export type Gap = {
  key: string;
  /** From the end of the one before to the start of the other. */
  ms: number;
  /** Whether both ran in the same process. */
  samePod: boolean;
  /** Of the item that took the slot. */
  no: number;
};

/**
 * All that was handled, by the marks of each process (`marks[pod]`), in the order of the starts.
 * @throws when an item was not handled, or twice, or did not end; or when something was handled that is no item.
 */
export function handledOf(marks: readonly (readonly Mark[])[], items: readonly { no: number }[]): Handled[] {
  const submitted = new Set(items.map(({ no }) => no));
  const handled = new Map<number, Handled>();
  for (const [pod, all] of marks.entries()) {
    for (const { at, ns, no, key } of all) {
      const one = handled.get(no);
      if (!submitted.has(no)) throw new Error(`Item ${no} was handled, but never submitted.`);
      if (at === 'start') {
        if (one) throw new Error(`Item ${no} was started twice, by processes ${one.pod} and ${pod}.`);
        handled.set(no, { no, key, pod, start: ns, end: Number.NaN });
      } else {
        if (one?.pod !== pod) throw new Error(`Item ${no} ended in process ${pod}, which did not start it.`);
        one.end = ns;
      }
    }
  }
  const missing = submitted.size - handled.size;
  if (missing > 0) throw new Error(`${missing} of ${submitted.size} items were never started.`);
  for (const { no, pod, end } of handled.values()) {
    if (Number.isNaN(end)) throw new Error(`Item ${no} started in process ${pod} and never ended.`);
  }
  return [...handled.values()].toSorted((a, b) => a.start - b.start);
}

type Change = { ns: number; by: 1 | -1; one: Handled };

/** Starts and ends in the order of time; at the same moment, what ends is gone before what starts. */
function changesOf(all: readonly Handled[]): Change[] {
  return all
    .flatMap((one): Change[] => [
      { ns: one.start, by: 1, one },
      { ns: one.end, by: -1, one },
    ])
    .toSorted((a, b) => a.ns - b.ns || a.by - b.by);
}

function byKey(all: readonly Handled[]): Map<string, Handled[]> {
  return Map.groupBy(all, ({ key }) => key);
}

/** The most that were at work at once for any key, over its capacity; 0 when none was over. */
export function overshootOf(all: readonly Handled[], capacity: number): number {
  let most = 0;
  for (const ofKey of byKey(all).values()) {
    let now = 0;
    for (const { by } of changesOf(ofKey)) {
      now += by;
      most = Math.max(most, now);
    }
  }
  return Math.max(0, most - capacity);
}

/** Nanoseconds of the first start, and of the last end. */
export function boundsOf(all: readonly Handled[]): { first: number; last: number } {
  let first = Number.POSITIVE_INFINITY;
  let last = Number.NEGATIVE_INFINITY;
  for (const { start, end } of all) {
    first = Math.min(first, start);
    last = Math.max(last, end);
  }
  return { first, last };
}

/** From the first start to the last end. */
export function makespanMs(all: readonly Handled[]): number {
  const { first, last } = boundsOf(all);
  return (last - first) / 1e6;
}

/** The share of the capacity in which handlers were at work: Σ(end − start) ÷ (capacity × makespan); for one key. */
export function useOf(all: readonly Handled[], capacity: number): number {
  const worked = all.reduce((sum, { start, end }) => sum + end - start, 0);
  return worked / 1e6 / (capacity * makespanMs(all));
}

/** Items a second, from the first start to the last end. */
export function rateOf(all: readonly Handled[]): number {
  return all.length / (makespanMs(all) / 1e3);
}

/**
 * Each slot that a full key gave from one handler to the next. Slots have no names: the one that is free longest is
 * taken first. Slots that nobody took afterwards (the last `capacity` ends) make no gap.
 */
export function gapsOf(all: readonly Handled[], capacity: number): Gap[] {
  return [...byKey(all).values()].flatMap((ofKey) => gapsOfKey(ofKey, capacity));
}

function gapsOfKey(all: readonly Handled[], capacity: number): Gap[] {
  const gaps: Gap[] = [];
  const freed: Handled[] = [];
  let inUse = 0;
  for (const { by, one } of changesOf(all)) {
    // Full, but for slots that are on their way to the next: only then somebody waited for this one.
    const handedOn = by === -1 && inUse <= capacity && inUse + freed.length >= capacity;
    inUse += by;
    if (handedOn) freed.push(one);
    if (by === -1) continue;
    const before = freed.shift();
    if (before) {
      const ms = (one.start - before.end) / 1e6;
      gaps.push({ key: one.key, ms, samePod: before.pod === one.pod, no: one.no });
    }
  }
  return gaps;
}
