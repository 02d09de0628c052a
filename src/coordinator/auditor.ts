/**
 * The auditor: walks through what is stored, a slice at a time, and mends what no loop would find by itself. So far:
 * queues and tickets that somebody deleted in pg-boss, and tickets that were left behind.
 *
 * Where it stands is kept in the process only: after a start, a walk begins anew. Several auditors see the same things
 * and mend them to the same end.
 */

import { mendQueues, type Queue } from '../queue/boss.ts';
import { type Audited, auditTickets } from '../queue/tickets.ts';
import type { CoordinatorDatabase } from './tick.ts';

/** Runs of one slice: a hundredth of a second, so that whoever shares the process or the database hardly waits. */
const sliceRuns = 2_000;

export class Auditor {
  readonly #database: CoordinatorDatabase;
  readonly #queue: Queue;
  readonly #slice: number;
  #after = '0';

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
}
