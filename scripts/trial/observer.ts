/** What the marks say: the most at once of each key, and the attempts that there were. */

import type { Mark } from './marks.ts';
import { capacityOf, type Keys, limitOf } from './workload.ts';

/** The work of one attempt, or of a run from its first attempt to its last. */
type Interval = { from: number; to: number; keys: Keys };

export type Attempt = {
  run: string;
  step: string;
  attempt: number;
  pod: string;
  outcome: string | undefined;
};

export type Killed = { pod: string; time: number };

export const attemptName = ({ run, step, attempt }: { run: string; step: string; attempt: number }) =>
  `run ${run} step ${step} attempt ${attempt}`;

/**
 * Attempts by name, and for each key the intervals in which it was held. They lie within the true ones (a slot is taken
 * before the start is marked and given back after the end is), so that what is over here was over in truth. For that
 * reason an attempt of the killed process ends just before the kill was sent.
 */
export class Observer {
  readonly attempts = new Map<string, Attempt>();
  readonly wrong: string[] = [];
  readonly #steps = new Map<string, Interval>();
  readonly #runs = new Map<string, Interval>();

  constructor(marks: ReadonlyMap<string, readonly Mark[]>, killed: Killed) {
    for (const [pod, all] of marks) for (const mark of all) this.#read(pod, mark, killed);
    for (const { pod, ...attempt } of this.attempts.values()) {
      if (attempt.outcome !== undefined) continue;
      if (pod !== killed.pod) this.wrong.push(`${attemptName(attempt)} started at ${pod} and never ended`);
    }
  }

  #read(pod: string, mark: Mark, killed: Killed): void {
    const name = attemptName(mark);
    if (mark.at === 'start') {
      if (this.attempts.has(name)) this.wrong.push(`${name} started twice`);
      const { run, step, attempt } = mark;
      this.attempts.set(name, { run, step, attempt, pod, outcome: undefined });
      const to = pod === killed.pod ? Math.max(mark.time, killed.time) : Number.POSITIVE_INFINITY;
      this.#steps.set(name, { from: mark.time, to, keys: mark.stepKeys ?? {} });
      this.#extend(mark.run, mark.time, mark.runKeys ?? {});
      return;
    }
    const attempt = this.attempts.get(name);
    const interval = this.#steps.get(name);
    if (!attempt || !interval || attempt.outcome !== undefined) {
      this.wrong.push(`${name} ended without having started`);
      return;
    }
    attempt.outcome = mark.outcome;
    interval.to = mark.time;
    this.#extend(mark.run, mark.time, {});
  }

  #extend(run: string, time: number, keys: Keys): void {
    const interval = this.#runs.get(run) ?? { from: time, to: time, keys };
    interval.from = Math.min(interval.from, time);
    interval.to = Math.max(interval.to, time);
    if (Object.keys(keys).length > 0) interval.keys = keys;
    this.#runs.set(run, interval);
  }

  /** The most slots of each key that were held at once. */
  mostAtOnce(): Map<string, number> {
    const changes = new Map<string, { time: number; by: number }[]>();
    for (const { from, to, keys } of [...this.#steps.values(), ...this.#runs.values()]) {
      for (const [key, amount] of Object.entries(keys)) {
        const list = changes.get(key) ?? [];
        list.push({ time: from, by: amount }, { time: to, by: -amount });
        changes.set(key, list);
      }
    }
    return new Map([...changes].map(([key, list]) => [key, mostOf(list)]));
  }
}

/** At the same moment, what ends is gone before what starts. */
function mostOf(changes: { time: number; by: number }[]): number {
  let now = 0;
  let most = 0;
  for (const { by } of changes.toSorted((a, b) => a.time - b.time || a.by - b.by)) {
    now += by;
    most = Math.max(most, now);
  }
  return most;
}

export type LimitSeen = { limit: string; keys: number; capacity: string; most: number; full: number };

/** Per limit, over its keys: the capacity, the most at once, and how many keys were ever full. And which were over. */
export function compare(most: ReadonlyMap<string, number>): { limits: LimitSeen[]; over: string[] } {
  const limits = new Map<string, LimitSeen>();
  const over: string[] = [];
  for (const [key, seen] of most) {
    const capacity = capacityOf(key);
    const limit = limitOf(key);
    const line = limits.get(limit) ?? { limit, keys: 0, capacity: '', most: 0, full: 0 };
    line.keys += 1;
    line.capacity = limit === 'executor@run' ? "the run's" : String(capacity);
    line.most = Math.max(line.most, seen);
    if (seen >= capacity) line.full += 1;
    limits.set(limit, line);
    if (seen > capacity) over.push(`${key}: ${seen} at once, its capacity is ${capacity}`);
  }
  return { limits: [...limits.values()].toSorted((a, b) => (a.limit < b.limit ? -1 : 1)), over };
}
