/** A queue of blocked runs in a database of its own, with coordinator and worker in this process, and what is measured in it. */

import { setTimeout as delay } from 'node:timers/promises';
import { createLockkeeper, job, type Lockkeeper } from '../../src/index.ts';
import type { BenchServer } from '../types.ts';
import { asleep } from './asleep.ts';
import { nowNs } from './marks.ts';
import { type Handled, overshootOf } from './observer.ts';
import { expectNumber, quiet, submitAll, template } from './sql.ts';

/** How many lanes (and customers) the shapes with many have. */
const lanes = 100_000;
const room = 10;
/** After a sample, so that what it left to do is not in the next one. */
const settleMs = 5;
/** A start that takes longer than this never comes, and the figure fails. */
const lostMs = 60_000;

/** How the blocked are told apart. */
export type Shape = {
  name: string;
  /** Of the blocked run with this number. */
  tags(no: number): Record<string, string>;
  /** Of who takes turns at the slot that `handOver` gives on. */
  heir: Record<string, string>;
};

const shut = { gate: 'shut' };

export const oneLane: Shape = { name: 'one lane', tags: () => shut, heir: shut };

export const oneKey: Shape = {
  name: '100 k lanes behind one key',
  tags: (no) => ({ ...shut, lane: `l${no % lanes}` }),
  heir: { ...shut, lane: 'l0' },
};

export const ownKeys: Shape = {
  name: '100 k lanes, each behind its own key',
  tags: (no) => ({ customer: `c${no % lanes}` }),
  heir: shut,
};

export const shapes: readonly Shape[] = [oneLane, oneKey, ownKeys];

/** The gate lets one run pass, a customer none; `lane` makes lanes and is never full. */
export const config = {
  concurrency: {
    runs: {
      tag_concurrency_limits: [
        { key: 'gate', limit: 1 },
        { key: 'lane', value: { applyLimitPerUniqueValue: true }, limit: 1_000_000 },
        { key: 'customer', value: { applyLimitPerUniqueValue: true }, limit: 0 },
      ],
    },
  },
};

/** Works on a queue of this shape in a new database, in which one run holds the slot and nobody waits yet. */
export async function withBacklog<T>(
  server: BenchServer,
  shape: Shape,
  purpose: string,
  use: (backlog: Backlog) => Promise<T>,
): Promise<T> {
  const starts = new Starts();
  const slot = new Slot(starts);
  const jobs = [job('free', () => starts.now('free')), job('blocked', () => slot.hold())];
  const { url, drop } = await server.database(purpose, template);
  try {
    const lockkeeper = await createLockkeeper({ connectionString: url, jobs, log: quiet });
    const coordinator = lockkeeper.startCoordinator();
    try {
      await lockkeeper.applyConfig(config);
      await lockkeeper.startWorker({ room });
      const first = { job: 'blocked', tags: shape.heir };
      await starts.msUntil('blocked', () => lockkeeper.submitMany([first]));
      const backlog = new Backlog(lockkeeper, shape, starts, slot);
      const answer = await use(backlog);
      await backlog.check();
      return answer;
    } finally {
      // Else it would look at all that wait, now that the slot is free and nobody serves their job any more.
      await coordinator.stop();
      const closing = lockkeeper.close();
      slot.open();
      await closing;
    }
  } finally {
    await drop();
  }
}

/** Runs that wait, one that holds the slot, and a worker. */
export class Backlog {
  readonly #lockkeeper: Lockkeeper;
  readonly #shape: Shape;
  readonly #starts: Starts;
  readonly #slot: Slot;
  #blocked = 0;

  constructor(lockkeeper: Lockkeeper, shape: Shape, starts: Starts, slot: Slot) {
    this.#lockkeeper = lockkeeper;
    this.#shape = shape;
    this.#starts = starts;
    this.#slot = slot;
  }

  /** Submits blocked runs until there are so many; milliseconds from the last commit until all of them sleep. */
  async fill(upTo: number): Promise<number> {
    const from = this.#blocked;
    const tags = (no: number) => this.#shape.tags(from + no);
    await submitAll(this.#lockkeeper, upTo - from, (no) => ({ job: 'blocked', tags: tags(no) }));
    const committed = nowNs();
    this.#blocked = upTo;
    await asleep(this.#lockkeeper);
    const ms = (nowNs() - committed) / 1e6;
    await this.check();
    return ms;
  }

  /** Milliseconds from the submit of a run that nothing blocks to the start of its handler. */
  async startOfFree(): Promise<number> {
    await delay(settleMs);
    return this.#starts.msUntil('free', () => this.#lockkeeper.submitMany([{ job: 'free' }]));
  }

  /** Milliseconds from the end of the handler that holds the slot to the start of its successor's. */
  async handOver(): Promise<number> {
    await this.#lockkeeper.submitMany([{ job: 'blocked', tags: this.#shape.heir }]);
    await asleep(this.#lockkeeper);
    await delay(settleMs);
    return this.#starts.msUntil('blocked', async () => this.#slot.release());
  }

  /** The most handlers that were seen at once in the slot of one, over one. */
  get overshoot(): number {
    return this.#slot.overshoot;
  }

  /** Throws unless exactly the blocked wait. */
  check(): Promise<void> {
    return checkWaiting(this.#lockkeeper, this.#blocked);
  }
}

/** Who waits for the next start of a job. */
export class Starts {
  readonly #waiting = new Map<string, (ns: number) => void>();

  /** A handler of this job starts. */
  now(name: string): void {
    this.#waiting.get(name)?.(nowNs());
    this.#waiting.delete(name);
  }

  /** Milliseconds from now, when `act` is called, to the next start of a handler of this job. Throws when there is none. */
  async msUntil(name: string, act: () => Promise<unknown>): Promise<number> {
    const from = nowNs();
    const [started] = await Promise.all([this.#next(name), act()]);
    return (started - from) / 1e6;
  }

  async #next(name: string): Promise<number> {
    const { promise, resolve } = Promise.withResolvers<number>();
    this.#waiting.set(name, resolve);
    const started = new AbortController();
    const lost = delay(lostMs, undefined, { signal: started.signal }).catch(() => undefined);
    const at = await Promise.race([promise, lost]);
    started.abort();
    if (at === undefined) throw new Error(`No handler of job "${name}" started within ${lostMs / 1_000} s.`);
    return at;
  }
}

/** A slot of one: its handler runs until it is released. */
export class Slot {
  readonly #starts: Starts;
  readonly #holders: { one: Handled; end: () => void }[] = [];
  readonly #handled: Handled[] = [];
  #open = false;

  constructor(starts: Starts) {
    this.#starts = starts;
  }

  /** The handler. */
  async hold(): Promise<void> {
    if (this.#open) return;
    const { promise, resolve } = Promise.withResolvers<void>();
    const one = { no: this.#handled.length, key: '', pod: 0, start: nowNs(), end: Number.POSITIVE_INFINITY };
    this.#handled.push(one);
    this.#holders.push({ one, end: resolve });
    this.#starts.now('blocked');
    await promise;
  }

  /** Ends the handler. */
  release(): void {
    const holder = this.#holders.shift();
    if (!holder) throw new Error('Nobody holds the slot.');
    holder.one.end = nowNs();
    holder.end();
  }

  /** Ends all handlers, and at once those to come. */
  open(): void {
    this.#open = true;
    while (this.#holders.length > 0) this.release();
  }

  /** The most handlers that were at it at once, over one. */
  get overshoot(): number {
    return overshootOf(this.#handled, 1);
  }
}

/** Throws unless exactly so many runs of job `blocked` are queued: else something else was measured. */
export async function checkWaiting(lockkeeper: Lockkeeper, blocked: number): Promise<void> {
  const queued =
    "select coalesce(sum(runs), 0) as n from lockkeeper.states where job = 'blocked' and state = 'queued'";
  await expectNumber(lockkeeper.database, 'blocked runs', queued, blocked);
}
