/**
 * A clock for pg-boss that stands still until it is told the time, so that pg-boss runs nothing by itself: its
 * timers fire inside `advance` and nowhere else. No timer of Node is behind it, so it keeps no process alive.
 */

import { setImmediate } from 'node:timers/promises';
import type { Clock } from 'pg-boss';

export type StillClock = Clock & {
  /** Moves on to this time (milliseconds of the epoch) and runs, in order, what is due by then. Never goes back. */
  advance(to: number): void;
};

type Timer = { due: number; every: number | undefined; run: () => void };

export function stillClock(start = 0): StillClock {
  let now = start;
  const timers = new Set<Timer>();
  const add = (run: () => void, ms: number, every?: number) => {
    const timer: Timer = { due: now + ms, every, run };
    timers.add(timer);
    return timer;
  };
  const remove = (timer: unknown) => {
    timers.delete(timer as Timer);
  };
  return {
    now: () => now,
    setTimeout: (run, ms) => add(run, ms),
    setInterval: (run, ms) => add(run, ms, ms),
    clearTimeout: remove,
    clearInterval: remove,
    advance(to) {
      now = Math.max(now, to);
      const due = [...timers].filter((timer) => timer.due <= now).sort((a, b) => a.due - b.due);
      for (const timer of due) {
        if (!timers.delete(timer)) continue; // Cleared by one that ran before it.
        if (timer.every !== undefined) timers.add(Object.assign(timer, { due: now + timer.every }));
        timer.run();
      }
    },
  };
}

/** Counts what runs, so that one can wait until it is over and nothing new has begun. */
export function activity(): { track<T>(work: Promise<T>): Promise<T>; settled(): Promise<void> } {
  const running = new Set<Promise<unknown>>();
  let started = 0;
  return {
    track(work) {
      started += 1;
      const end = () => running.delete(work);
      running.add(work);
      work.then(end, end);
      return work;
    },
    async settled() {
      let seen: number;
      do {
        seen = started;
        await Promise.allSettled(running);
        await setImmediate(); // Whoever waited for the last one now begins the next, or does not.
      } while (running.size > 0 || started !== seen);
    },
  };
}
