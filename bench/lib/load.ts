/** Runs that are offered one after the other, and what their handlers see of it: all in this process, with one clock. */

import { setTimeout as delay } from 'node:timers/promises';
import { job, type Lockkeeper } from '../../src/index.ts';
import { nowNs } from './marks.ts';

/** What was seen since the last look. */
export type Seen = {
  /** Milliseconds from the call of submit to the start of the handler, of each run. */
  starts: number[];
  /** Milliseconds from the end of a handler in the slot of one to the start of the next one's. */
  handOvers: number[];
  ended: number;
};

/** Three limits for each run, none ever full; and a fourth that is always: `gate`, a slot of one. */
export const config = {
  concurrency: {
    runs: {
      max_concurrent_runs: 1_000_000,
      tag_concurrency_limits: [
        { key: 'customer', value: { applyLimitPerUniqueValue: true }, limit: 1_000_000 },
        { key: 'gate', limit: 1 },
      ],
    },
    pools: { limits: { warehouse: 1_000_000 } },
  },
};

const customers = 100;
const gatedMs = 50;
/** So many wait for the slot at any time. */
const gatedWaiting = 5;
const roundMs = 20;
const batch = 100;
/** In a closed loop, so many runs are live at once at most. */
const inFlight = 2_000;

/** A load, before it has a Lockkeeper to go to. */
export class Load {
  readonly #sent = new Map<number, number>();
  #lockkeeper: Lockkeeper | undefined;
  #seen: Seen = nothing();
  #next = 0;
  #live = 0;
  /** In the slot of one, and the most there were. */
  #inSlot = 0;
  #mostInSlot = 0;
  #slotFreed: number | undefined;
  #gateOpen = false;

  readonly jobs = [
    job('offered', { pool: 'warehouse' }, ({ input }) => this.#offered(Number(input))),
    job('gated', { pool: 'warehouse' }, () => this.#gated()),
  ];

  /** Has some wait for the slot of one from now on. */
  async start(lockkeeper: Lockkeeper): Promise<void> {
    this.#lockkeeper = lockkeeper;
    await this.#submitGated(1 + gatedWaiting);
  }

  /** Offers `perSecond` runs a second until then, whatever becomes of them. */
  async offer(perSecond: number, untilNs: number): Promise<void> {
    const began = nowNs();
    for (let offered = 0; nowNs() < untilNs; await delay(roundMs)) {
      const due = Math.floor(((nowNs() - began) / 1e9) * perSecond) - offered;
      if (due > 0) await this.#submit(due);
      offered += Math.max(0, due);
    }
  }

  /** Submits as fast as it goes until then, with so many in flight that nobody waits for the next ones. */
  async press(untilNs: number): Promise<void> {
    while (nowNs() < untilNs) {
      if (this.#live < inFlight) await this.#submit(batch);
      else await delay(1);
    }
  }

  /** What was seen since the last call. */
  look(): Seen {
    const seen = this.#seen;
    this.#seen = nothing();
    return seen;
  }

  /** Handlers that were in the slot of one at once, over one. */
  get overshoot(): number {
    return Math.max(0, this.#mostInSlot - 1);
  }

  /** Lets what waits for the slot through; nothing is submitted any more. */
  end(): void {
    this.#gateOpen = true;
  }

  async #submit(count: number): Promise<void> {
    const from = this.#next;
    this.#next += count;
    this.#live += count;
    const sent = nowNs();
    const runs = Array.from({ length: count }, (_, i) => {
      this.#sent.set(from + i, sent);
      return { job: 'offered', input: from + i, tags: { customer: `c${(from + i) % customers}` } };
    });
    await this.#lockkeeper?.submitMany(runs);
  }

  async #submitGated(count: number): Promise<void> {
    const run = { job: 'gated', tags: { gate: 'shut', customer: 'c0' } };
    await this.#lockkeeper?.submitMany(Array.from({ length: count }, () => run));
  }

  #offered(no: number): void {
    const sent = this.#sent.get(no);
    if (sent === undefined) throw new Error(`Run ${no} was handled twice, or never submitted.`);
    this.#sent.delete(no);
    this.#seen.starts.push((nowNs() - sent) / 1e6);
    this.#seen.ended += 1;
    this.#live -= 1;
  }

  async #gated(): Promise<void> {
    if (this.#slotFreed !== undefined) this.#seen.handOvers.push((nowNs() - this.#slotFreed) / 1e6);
    this.#inSlot += 1;
    this.#mostInSlot = Math.max(this.#mostInSlot, this.#inSlot);
    // The one that is submitted comes behind those that wait.
    if (!this.#gateOpen) await Promise.all([this.#submitGated(1), delay(gatedMs)]);
    this.#inSlot -= 1;
    this.#slotFreed = nowNs();
  }
}

const nothing = (): Seen => ({ starts: [], handOvers: [], ended: 0 });
