/**
 * A worker's lease: claims, finishes and renewals are made under it, and all that it holds ends with it. A call that
 * fails may be repeated: a claim keeps its number until its answer was read, a finish is answered `already`.
 */

import type { Executor } from './database.ts';
import type { Claimed, Ending } from './steps.ts';
import { claimedOf, itemOf } from './steps.ts';
import type { Wake } from './wake.ts';

/**
 * Which versions of a job a worker accepts: `same` are those with the same steps and edges as its own, `exact` its own
 * alone, `any` all.
 */
export type Accepts = 'same' | 'exact' | 'any';

/** A job in the version that a worker knows, and what else of that job it accepts (`same` if left out). */
export type JobVersion = { job: string; version: string; accepts?: Accepts | undefined };

export type LeaseOptions = {
  /** The worker's name, for people. */
  worker: string;
  /** How many steps it runs at once. */
  room: number;
  /** What it can run; each must be registered. */
  versions: readonly JobVersion[];
  /** Milliseconds after which a lease that is not renewed ends. */
  leaseMs: number;
};

/** One attempt of one step. */
export type AttemptRef = { runId: string; place: number; attempt: number };

export type Answer = 'accepted' | 'already' | 'refused';

/** An attempt that its worker must abort: its run is canceled, or it is no longer the worker's. */
export type Abort = AttemptRef & { reason: 'canceled' | 'lost' };

type Row = Record<string, unknown>;

/** What an exchange did. */
export type Exchanged = {
  /** Of the endings, in their order; `retry`: it was not done, there are too many keys at once. */
  answers: (Answer | 'retry')[];
  steps: Claimed[];
  /** It is worth another claim at once. */
  more: boolean;
  /** For whom there may be something to do now. */
  wakes: Wake[];
};

const versionsPerCall = 64;

export class Lease {
  /** A secret: who knows it can end what the worker runs. */
  readonly id: string;
  readonly #execute: Executor;
  #number: bigint;

  /** A lease that is open already; `claims` is the number of its last claim. */
  constructor(execute: Executor, id: string, claims = 0n) {
    this.#execute = execute;
    this.id = id;
    this.#number = claims + 1n;
  }

  /**
   * Opens a lease that serves these job versions.
   * @throws {UnknownJobError} when one is not registered, {InvalidInputError} for room or leaseMs that are not allowed.
   */
  static async open(execute: Executor, options: LeaseOptions): Promise<Lease> {
    const { worker, room, versions, leaseMs } = options;
    const chunks: JobVersion[][] = [];
    for (let i = 0; i < versions.length; i += versionsPerCall)
      chunks.push(versions.slice(i, i + versionsPerCall));
    const { rows } = await execute('select lockkeeper.open_lease($1, $2, $3, $4) as id', [
      worker,
      room,
      JSON.stringify(chunks[0] ?? []),
      leaseMs,
    ]);
    const lease = new Lease(execute, String(rows[0]?.id));
    // Once more than there are chunks: of accepted versions there may be more than one call takes.
    let more = true;
    for (let i = 1; i < chunks.length || more; i += 1) {
      const served = await execute('select lockkeeper.serve($1, $2) as more', [
        lease.id,
        JSON.stringify(chunks[i] ?? []),
      ]);
      more = served.rows[0]?.more === true;
    }
    return lease;
  }

  /** How many claims were answered. */
  get claims(): bigint {
    return this.#number - 1n;
  }

  /**
   * Claims up to `n` ready steps. `more`: fewer were granted, and it is worth calling again at once.
   * @throws {LeaseEndedError}
   */
  async claim(n: number): Promise<{ steps: Claimed[]; more: boolean }> {
    const { rows } = await this.#execute('select steps, more from lockkeeper.claim($1, $2, $3)', [
      this.id,
      String(this.#number),
      n,
    ]);
    this.#number += 1n;
    const [row] = rows as [{ steps: Record<string, unknown>[]; more: boolean }];
    return { steps: row.steps.map(claimedOf), more: row.more };
  }

  /**
   * Finishes and claims up to `n` in one: the slots given back may be taken at once by what waits for them. With `n` 0
   * nothing is claimed. An answer `retry` is for the caller to send again.
   * @throws {LeaseEndedError} when `n` is not 0; then nothing was done.
   */
  async exchange(endings: readonly Ending[], n: number): Promise<Exchanged> {
    const { rows } = await this.#execute('select * from lockkeeper.exchange($1, $2, $3, $4)', [
      this.id,
      JSON.stringify(endings.map(itemOf)),
      n > 0 ? String(this.#number) : null,
      n,
    ]);
    if (n > 0) this.#number += 1n;
    const [row] = rows as [{ answers: Exchanged['answers']; steps: Row[]; more: boolean; wakes: Wake[] }];
    return { ...row, steps: row.steps.map(claimedOf) };
  }

  /** Ends attempts, in one statement unless they use too many keys at once; the answers are in their order. */
  async finish(endings: readonly Ending[]): Promise<Answer[]> {
    const answers: Answer[] = [];
    let left = endings.map((_, index) => index);
    while (left.length > 0) {
      const items = left.map((index) => itemOf(endings[index] as Ending));
      const { rows } = await this.#execute('select * from lockkeeper.finish($1, $2)', [
        this.id,
        JSON.stringify(items),
      ]);
      const again: number[] = [];
      for (const [i, index] of left.entries()) {
        const answer = rows[i]?.answer as Answer | 'retry';
        if (answer === 'retry') again.push(index);
        else answers[index] = answer;
      }
      left = again;
    }
    return answers;
  }

  /**
   * Renews the lease and names what the worker holds; answers what it must abort.
   * @throws {LeaseEndedError} when it has ended: then all must be aborted.
   */
  async renew(held: readonly AttemptRef[], leaseMs: number): Promise<Abort[]> {
    const items = held.map(({ runId, place, attempt }) => ({ run_id: runId, place, attempt }));
    const { rows } = await this.#execute('select * from lockkeeper.renew_lease($1, $2, $3)', [
      this.id,
      JSON.stringify(items),
      leaseMs,
    ]);
    return rows.map((row) => ({
      runId: String(row.run_id),
      place: Number(row.place),
      attempt: Number(row.attempt),
      reason: row.reason as Abort['reason'],
    }));
  }

  /** Ends the lease; what is still held is lost and tried again by others. */
  async close(): Promise<void> {
    await this.#execute('select lockkeeper.close_lease($1)', [this.id]);
  }
}
