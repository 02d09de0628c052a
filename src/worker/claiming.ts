/** Claims under one lease, one at a time. One that fails is made again with its number by the next. */

import type { Lease } from '../leases.ts';
import type { Claimed } from '../steps.ts';
import { monotonicMs } from '../wake.ts';

export type Claims = {
  steps: Claimed[];
  /** It is worth another claim right now. */
  more: boolean;
  /** Read too late to be sure that the steps are still the worker's. */
  late: boolean;
};

export class Claiming {
  readonly #lease: Lease;
  readonly #lateMs: number;
  /** When the claim that has no answer yet was first sent. */
  #since: number | undefined;
  /** What many steps get together may be more than Postgres can answer; then they come one by one, until there are none. */
  #narrow = false;

  constructor(lease: Lease, lateMs: number) {
    this.#lease = lease;
    this.#lateMs = lateMs;
  }

  /** Up to so many steps. */
  async claim(room: number): Promise<Claims> {
    // Of a claim that is repeated, the first time counts: since then two renewals may not have named its steps.
    const sent = this.#since ?? monotonicMs();
    this.#since = sent;
    try {
      const { steps, more } = await this.#lease.claim(this.#narrow ? 1 : room);
      const late = monotonicMs() - sent > this.#lateMs;
      this.#since = undefined;
      this.#narrow &&= steps.length > 0;
      return { steps, more: more || late || this.#narrow, late };
    } catch (error) {
      // Class 54, limits of a program. Nothing was claimed, so nothing can be late.
      this.#narrow = /^54/.test(String((error as { code?: unknown }).code));
      if (this.#narrow) this.#since = undefined;
      throw error;
    }
  }
}
