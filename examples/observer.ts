/**
 * Sees what really ran: handlers note when they start and end, by the monotonic clock of the machine. Nothing here
 * reads a counter of Lockkeeper, so what it sees may be held against the limits.
 */

import type { definitionOf } from '../src/index.ts';
import { keysOf, type Limit, type Taken } from './keys.ts';

/** A job as it was registered: its steps with pools and tags. */
export type Definition = ReturnType<typeof definitionOf>;

/** A run as it was submitted. */
export type SeenRun = {
  id: string;
  job: string;
  deployment: string;
  kind: 'full' | 'branch';
  tags: Record<string, string>;
  maxConcurrent?: number | undefined;
};

/** Never stands still and never jumps, whatever is done to the wall clock. */
const nanoseconds = () => Number(process.hrtime.bigint());

/** Times are nanoseconds of the monotonic clock; `end` is missing while it runs. */
type Mark = { run: string; step: string; start: number; end?: number };

/** Something that took slots from `start` to `end`, and wanted them from `ready` on. */
export type Use = {
  taken: Taken[];
  /** Where admission looks ahead for each root step of a run: it waits while none of them has room. */
  roots: Taken[][];
  ready: number;
  start: number;
  end: number;
};

/** The run's tags and the step's do not mix: each limit sees its own. */
const tagged = (tags: Readonly<Record<string, string>>) =>
  Object.fromEntries(Object.entries(tags).map(([key, value]) => [`tag.${key}`, value]));

/** A pool of granularity `run` counts for a run what the greediest of its steps asks. */
function greediestOf(steps: Definition['steps']): Record<string, number> {
  const greediest: Record<string, number> = {};
  for (const { pools } of steps) {
    for (const [pool, amount] of Object.entries(pools))
      greediest[pool] = Math.max(amount, greediest[pool] ?? 0);
  }
  return greediest;
}

export class Observer {
  readonly #runs: (SeenRun & { submitted: number })[] = [];
  readonly #marks: Mark[] = [];
  readonly #now: () => number;

  constructor(now: () => number = nanoseconds) {
    this.#now = now;
  }

  submitted(run: SeenRun): void {
    this.#runs.push({ ...run, submitted: this.#now() });
  }

  /** Calls a handler between two marks. */
  async watch<T>(run: string, step: string, handler: () => Promise<T>): Promise<T> {
    const mark: Mark = { run, step, start: this.#now() };
    this.#marks.push(mark);
    try {
      return await handler();
    } finally {
      mark.end = this.#now();
    }
  }

  /** Every use of slots by a step, and by a run from its first handler's start to its last one's end. */
  uses(limits: readonly Limit[], definitions: readonly Definition[]): Use[] {
    const jobs = new Map(definitions.map((definition) => [definition.job, definition]));
    return this.#runs.flatMap((run) => {
      const definition = jobs.get(run.job);
      const marks = this.#marks.filter((mark) => mark.run === run.id);
      return definition && marks.length > 0 ? this.#usesOf(run, marks, definition, limits) : [];
    });
  }

  #usesOf(
    run: SeenRun & { submitted: number },
    marks: Mark[],
    { steps }: Definition,
    limits: readonly Limit[],
  ): Use[] {
    const base = { deployment: run.deployment, deployment_kind: run.kind, job: run.job, run: run.id };
    const own = run.maxConcurrent === undefined ? {} : { max_concurrent: String(run.maxConcurrent) };
    const now = this.#now();
    const endOf = (mark: Mark) => mark.end ?? now;
    const lastEnd = (some: Mark[]) => Math.max(...some.map(endOf));
    const keysOfStep = ({ name, pools, tags }: Definition['steps'][number], some = limits) => {
      const attributes = { ...base, ...own, step: name, ...tagged(tags) };
      return keysOf(some, { counts: 'step', attributes, pools });
    };
    const lookedAt = limits.filter(({ look_buffer }) => look_buffer !== null);
    const start = Math.min(...marks.map((mark) => mark.start));
    const ofRun: Use = {
      taken: keysOf(limits, {
        counts: 'run',
        attributes: { ...base, ...tagged(run.tags) },
        pools: greediestOf(steps),
      }),
      roots: steps.filter(({ after }) => after.length === 0).map((step) => keysOfStep(step, lookedAt)),
      ready: run.submitted,
      start,
      end: lastEnd(marks),
    };
    const ofSteps = marks.map((mark): Use => {
      const step = steps.find(({ name }) => name === mark.step);
      const before = marks.filter((other) => step?.after.includes(other.step));
      const ready = before.length > 0 ? lastEnd(before) : mark.start;
      const taken = step ? keysOfStep(step) : [];
      return { taken, roots: [], ready, start: mark.start, end: endOf(mark) };
    });
    return [ofRun, ...ofSteps];
  }
}

/** What the handlers saw of one key. Shares are of the time from the first use to the last. */
export type KeySeen = {
  key: string;
  capacity: number;
  /** Most slots ever in use at once. */
  most: number;
  /** Share of the time in which something waited that takes this key, or looks ahead at it. */
  waited: number;
  /** Share of the time in which something waited though this key and all others that it needs had room. */
  idle: number;
};

/** Goes through all starts and ends in order; ends come first at the same time. */
export function seenOf(uses: readonly Use[]): KeySeen[] {
  const seen = new Map<string, KeySeen & { used: number }>();
  for (const { key, capacity } of uses.flatMap(({ taken, roots }) => [...taken, ...roots.flat()])) {
    seen.set(key, { key, capacity, most: 0, waited: 0, idle: 0, used: 0 });
  }
  const events = uses.flatMap((use) => [
    { at: use.end, order: 0, act: () => add(use, -1) },
    { at: use.start, order: 1, act: () => start(use) },
    ...(use.ready < use.start ? [{ at: use.ready, order: 2, act: () => waiting.add(use) }] : []),
  ]);
  events.sort((a, b) => a.at - b.at || a.order - b.order);
  const waiting = new Set<Use>();
  const add = ({ taken }: Use, sign: number) => {
    for (const { key, amount } of taken) {
      const one = seen.get(key);
      if (!one) continue;
      one.used += sign * amount;
      one.most = Math.max(one.most, one.used);
    }
  };
  const start = (use: Use) => {
    waiting.delete(use);
    add(use, 1);
  };
  const hasRoom = ({ key, amount, capacity }: Taken) => (seen.get(key)?.used ?? 0) + amount <= capacity;
  const total = (events.at(-1)?.at ?? 0) - (events[0]?.at ?? 0) || 1;
  for (const [index, event] of events.entries()) {
    event.act();
    const share = ((events[index + 1]?.at ?? event.at) - event.at) / total;
    if (share > 0) addWaits(seen, waiting, hasRoom, share);
  }
  return [...seen.values()].map(({ used: _, ...one }) => one);
}

function addWaits(
  seen: Map<string, KeySeen>,
  waiting: ReadonlySet<Use>,
  hasRoom: (taken: Taken) => boolean,
  share: number,
): void {
  const waited = new Set<string>();
  const idle = new Set<string>();
  for (const { taken, roots } of waiting) {
    const startable =
      taken.every(hasRoom) && (roots.length === 0 || roots.some((root) => root.every(hasRoom)));
    for (const { key } of [...taken, ...roots.flat()]) {
      waited.add(key);
      if (startable) idle.add(key);
    }
  }
  for (const key of waited) (seen.get(key) as KeySeen).waited += share;
  for (const key of idle) (seen.get(key) as KeySeen).idle += share;
}
