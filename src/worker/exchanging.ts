/**
 * Exchanges under one lease, one at a time: what ended is finished, and room is filled. One that fails is made again with
 * its number by the next. What Postgres refuses of its data is done apart, so that one item does not hold up the others.
 */

import type { Logger } from '../jobs.ts';
import type { Exchanged, Lease } from '../leases.ts';
import type { Ending } from '../steps.ts';
import { allWakes, monotonicMs } from '../wake.ts';
import { finishAll, isOfTheData } from './finishing.ts';

export type Exchange = Exchanged & {
  /** Read too late to be sure that the steps are still the worker's. */
  late: boolean;
};

export type ExchangingOptions = { lease: Lease; lateMs: number; log: Logger };

export class Exchanging {
  readonly #lease: Lease;
  readonly #lateMs: number;
  readonly #log: Logger;
  /** When the claim that has no answer yet was first sent. */
  #since: number | undefined;
  /** What many steps get together may be more than Postgres can answer; then they come one by one, until there are none. */
  #narrow = false;

  constructor({ lease, lateMs, log }: ExchangingOptions) {
    this.#lease = lease;
    this.#lateMs = lateMs;
    this.#log = log;
  }

  /** Finishes, and claims up to so many steps. */
  async exchange(endings: readonly Ending[], room: number): Promise<Exchange> {
    try {
      return await this.#claiming(room, (n) => this.#lease.exchange(endings, n));
    } catch (error) {
      if (endings.length === 0 || !isOfTheData(error)) throw error;
    }
    const answers = await finishAll(this.#lease, endings, this.#log);
    // Its own data may be what was refused: the next exchange has nothing else.
    return { answers, steps: [], more: room > 0, wakes: [...allWakes], late: false };
  }

  async #claiming(room: number, exchange: (n: number) => Promise<Exchanged>): Promise<Exchange> {
    if (room <= 0) return { ...(await exchange(0)), late: false };
    // Of a claim that is repeated, the first time counts: since then two renewals may not have named its steps.
    const sent = this.#since ?? monotonicMs();
    this.#since = sent;
    try {
      const exchanged = await exchange(this.#narrow ? 1 : room);
      const late = monotonicMs() - sent > this.#lateMs;
      this.#since = undefined;
      this.#narrow &&= exchanged.steps.length > 0;
      return { ...exchanged, more: exchanged.more || late || this.#narrow, late };
    } catch (error) {
      // Class 54, limits of a program. Nothing was claimed, so nothing can be late.
      this.#narrow = /^54/.test(String((error as { code?: unknown }).code));
      if (this.#narrow) this.#since = undefined;
      throw error;
    }
  }
}
