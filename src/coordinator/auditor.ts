/**
 * The auditor: walks through what is stored, a slice at a time, and mends what no loop would find by itself: queues and
 * tickets that somebody deleted in pg-boss, tickets that were left behind, and what must never be (the view
 * `lockkeeper.violations`), which is a fault of Lockkeeper, or somebody wrote to its tables.
 *
 * To look takes no locks: each look is one statement, and so true as of one moment. Only who has found something locks
 * all keys, looks again and mends. Where the walks stand is kept in the process only: after a start, they begin anew.
 * Several auditors see the same things and mend them to the same end. An error leaves all as it was, to be found again.
 */

import type { Executor } from '../database.ts';
import { mendQueues, type Queue } from '../queue/boss.ts';
import { type Audited, auditTickets } from '../queue/tickets.ts';
import type { CoordinatorDatabase } from './tick.ts';

/** Something that must never be: of which kind, and where. */
export type Violation = { violation: string; detail: string };

/** What `repair` did about it; null: it could not be mended, and is as it was. */
export type Mended = Violation & { repair: string | null };

/** Of one slice: some hundredths of a second, so that whoever shares the process or the database hardly waits. */
const sliceRuns = 2_000;
/** The walk through the runs takes so many steps for each run of a slice. */
const stepsEach = 2;

/** What must never be with counters, keys and lanes. */
export async function auditKeys(execute: Executor): Promise<Violation[]> {
  const { rows } = await execute(
    `select violation, detail from lockkeeper.audit_keys()
     union all select violation, detail from lockkeeper.audit_lanes()`,
    [],
  );
  return rows as Violation[];
}

/** What must never be with the next runs after this id, as many as have `n` steps; `upto` undefined: to the end. */
export async function auditRuns(
  execute: Executor,
  after: string,
  n: number,
): Promise<{ violations: Violation[]; upto: string | undefined; last: bigint }> {
  const { rows } = await execute('select upto, violations, last from lockkeeper.audit_runs($1, $2)', [
    after,
    n,
  ]);
  const [found] = rows as [{ upto: string | null; violations: Violation[]; last: string | null }];
  return { violations: found.violations, upto: found.upto ?? undefined, last: BigInt(found.last ?? 0) };
}

/**
 * Locks all keys, looks once more at counters, keys and lanes and at the runs after this id up to that (undefined: to
 * the end), and mends. Nothing is admitted, claimed or finished meanwhile.
 */
export async function repair(execute: Executor, after: string, upto: string | undefined): Promise<Mended[]> {
  const { rows } = await execute('select violation, detail, repair from lockkeeper.repair($1, $2)', [
    after,
    upto ?? null,
  ]);
  return rows as Mended[];
}

export class Auditor {
  readonly #database: CoordinatorDatabase;
  readonly #queue: Queue;
  readonly #slice: number;
  #after = '0';
  #afterRun = '0';
  /** The youngest run when this walk began: under a steady load it would never end otherwise. */
  #lastRun = 0n;

  constructor(database: CoordinatorDatabase, queue: Queue, slice = sliceRuns) {
    this.#database = database;
    this.#queue = queue;
    this.#slice = slice;
  }

  /** The queues that somebody deleted; they are there again. */
  queues(): Promise<string[]> {
    return mendQueues(this.#queue);
  }

  /** One slice of the tickets; after the last one the next walk begins. */
  async tick(): Promise<Audited> {
    const audited = await auditTickets(this.#queue, this.#database, this.#after, this.#slice);
    this.#after = audited.upto ?? '0';
    return audited;
  }

  /** Counters, keys and lanes, all of them. */
  async keys(): Promise<Mended[]> {
    const { execute } = this.#database;
    return (await auditKeys(execute)).length === 0 ? [] : repair(execute, '0', '0');
  }

  /** One slice of the runs; after the last one the next walk begins. */
  async runs(): Promise<{ mended: Mended[]; upto: string | undefined }> {
    const { execute } = this.#database;
    const after = this.#afterRun;
    const { violations, upto, last } = await auditRuns(execute, after, stepsEach * this.#slice);
    if (after === '0') this.#lastRun = last;
    const over = upto === undefined || BigInt(upto) >= this.#lastRun;
    // Moved on before it mends: a slice that cannot be mended now comes again with the next walk.
    this.#afterRun = over ? '0' : upto;
    const mended = violations.length === 0 ? [] : await repair(execute, after, upto);
    return { mended, upto: over ? undefined : upto };
  }
}
