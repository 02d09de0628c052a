/** The attempts that a worker holds: what its handlers run, until the answer to their finish was read. */

import type { AttemptRef } from '../leases.ts';

/** Why a handler's signal is aborted. */
export type AbortReason = 'canceled' | 'timed out' | 'lost' | 'draining';

/** What a handler's `signal` is aborted with. */
export class AttemptAborted extends Error {
  readonly reason: AbortReason;

  constructor(reason: AbortReason) {
    super(
      {
        canceled: 'The run was canceled.',
        'timed out': "The step's time is up.",
        lost: 'The attempt is no longer this worker’s.',
        draining: 'The worker stops.',
      }[reason],
    );
    this.name = 'AttemptAborted';
    this.reason = reason;
  }
}

/** What names an attempt, without what else is known of it. */
export const refOf = ({ runId, place, attempt }: AttemptRef): AttemptRef => ({ runId, place, attempt });

export const keyOf = ({ runId, place, attempt }: AttemptRef): string => `${runId}.${place}.${attempt}`;

export class Held {
  readonly #attempts = new Map<string, { ref: AttemptRef; abort: AbortController }>();
  readonly #onChange: (change: { add?: AttemptRef[]; remove?: string[] }) => void;

  constructor(onChange: (change: { add?: AttemptRef[]; remove?: string[] }) => void) {
    this.#onChange = onChange;
  }

  get size(): number {
    return this.#attempts.size;
  }

  add(refs: readonly AttemptRef[]): void {
    for (const ref of refs) this.#attempts.set(keyOf(ref), { ref, abort: new AbortController() });
    this.#onChange({ add: [...refs] });
  }

  signalOf(ref: AttemptRef): AbortSignal {
    const held = this.#attempts.get(keyOf(ref));
    if (!held) throw new Error(`attempt ${keyOf(ref)} is not held`);
    return held.abort.signal;
  }

  abort(ref: AttemptRef, reason: AbortReason): void {
    this.#attempts.get(keyOf(ref))?.abort.abort(new AttemptAborted(reason));
  }

  abortAll(reason: AbortReason): void {
    for (const { abort } of this.#attempts.values()) abort.abort(new AttemptAborted(reason));
  }

  remove(refs: readonly AttemptRef[]): void {
    const keys = refs.map(keyOf);
    for (const key of keys) this.#attempts.delete(key);
    this.#onChange({ remove: keys });
  }
}
