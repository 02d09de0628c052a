/** The coordinator as a loop. Any number may run: they share the work by locks in the database, none of them leads. */

import { randomUUID } from 'node:crypto';
import { type Database, type Query, transaction } from '../database.ts';
import type { Logger } from '../jobs.ts';
import { lockNumber } from '../naming.ts';
import type { Queue, QueueSettings } from '../queue/boss.ts';
import { createKeeper, type Keeper } from '../queue/keeper.ts';
import { allWakes, type Loop, loop, monotonicMs, type Wake, wallClockMs } from '../wake.ts';
import { Auditor, type Mended } from './auditor.ts';
import { admitAll, coordinate, keepTickets, pass, type Ticked, tidy } from './tick.ts';

export type CoordinatorOptions = {
  database: Database;
  queue: Queue;
  settings: QueueSettings;
  log: Logger;
  /** Called after a pass that changed something that others may wait for, with who may. */
  onProgress: (wakes: readonly Wake[]) => void;
  /** The workers in this process; each look of the coordinator is for them, too. None if left out. */
  workers?: () => readonly LooksForWork[];
};

/** A worker, to the coordinator that looks for it. */
export type LooksForWork = {
  /** Undefined: it would not claim now. */
  readonly lease: string | undefined;
  /** What the look said: whether it should claim. */
  looked(claim: boolean): void;
};

/** Number of the advisory lock of the pod that does pg-boss's maintenance and cron. */
const keeperLock = 4_099;
const keeperEveryMs = 10_000;
/** The turn of a pod that has died goes to another after so long; pg-boss's cron looks back one minute. */
const turnMs = 25_000;
/** Of each walk of the audit, in each round of the keeper. */
const slicesEach = 5;
/** Counters, keys and lanes are audited as a whole, once in so many rounds: each minute. */
const keysEach = 6;
/** Of what the audit found, how many the log tells in detail. */
const told = 10;
/** What others do in pg-boss comes without a hint: passes that follow each other closely, for hints, do not all look for it. */
const outsideEveryMs = 100;
/** The pass wakes this loop; by itself it hardly ever ticks. */
const ticketsEveryMs = 600_000;

export class Coordinator {
  readonly #options: CoordinatorOptions;
  readonly #keeper: Keeper;
  readonly #auditor: Auditor;
  /** Who has the turn to keep. */
  readonly #pod = randomUUID();
  #keeps = false;
  #nobodyKeeps = false;
  #loops: Loop[] = [];
  #round = 0;
  #outsideFromMs = 0;
  /** This process told it of something to do, and nobody else. */
  #told = false;

  constructor(options: CoordinatorOptions) {
    this.#options = options;
    this.#keeper = createKeeper(options.database, options.settings);
    this.#auditor = new Auditor(options.database, options.queue);
  }

  /** One whole pass, by hand. */
  async tick(): Promise<Ticked> {
    const { database, queue } = this.#options;
    return this.#tell(await coordinate(database, queue));
  }

  #tell(ticked: Ticked): Ticked {
    const { log, onProgress, queue } = this.#options;
    if (ticked.remade.length > 0) {
      log.warn(
        { remade: ticked.remade.length, runs: ticked.remade.slice(0, 10) },
        'tickets of queued runs were fetched or ended by somebody; they are made again',
      );
    }
    if (ticked.rejected > 0)
      log.warn({ rejected: ticked.rejected }, `submissions were rejected, see ${queue.names.rejected}`);
    for (const err of ticked.failures)
      log.error({ err }, 'submissions or tickets could not be read from pg-boss; trying again');
    const wakes: Wake[] = [];
    if (ticked.admitted.length + ticked.ended + ticked.readied > 0) wakes.push('claim');
    if (ticked.ended + ticked.canceled.length > 0) wakes.push('end');
    if (wakes.length > 0) onProgress(wakes);
    return ticked;
  }

  /** Keeps, if it is this pod's turn or nobody's: the others send nothing. */
  async #keepInTurn(): Promise<void> {
    if (!this.#keeps && !this.#nobodyKeeps) return;
    this.#keeps = await this.#turn(turnMs);
    this.#nobodyKeeps = false;
    if (this.#keeps) await this.keep();
  }

  async #turn(ms: number): Promise<boolean> {
    const { rows } = await this.#options.database.execute('select lockkeeper.keep($1, $2) as mine', [
      this.#pod,
      ms,
    ]);
    return rows[0]?.mine === true;
  }

  /** pg-boss's maintenance and cron and some slices of the audit, if no other pod is at it, and the keys of nobody. */
  async keep(): Promise<void> {
    const { database } = this.#options;
    try {
      await transaction(database, (query) => this.#keepBoss(query));
    } finally {
      await tidy(database.execute);
    }
  }

  async #keepBoss(query: Query): Promise<void> {
    // Without values, so that nothing of the statement stays open: index builds would wait for its snapshot.
    const number = lockNumber(this.#options.database.schema, keeperLock);
    const { rows } = await query(`select pg_try_advisory_xact_lock(${number}) as mine`);
    if (rows[0]?.mine !== true) return;
    await this.#keeper.tick(wallClockMs());
    const queues = await this.#auditor.queues();
    if (queues.length > 0)
      this.#options.log.warn({ queues }, 'queues of ours were deleted in pg-boss; they are made again');
    // Counted first: what fails must not keep the next rounds from the rest.
    this.#round += 1;
    if (this.#round % keysEach === 1) this.#tellMended(await this.#auditor.keys());
    for (const walk of [() => this.#auditTickets(), () => this.#auditRuns()])
      for (let slice = 0; slice < slicesEach; slice += 1) if (!(await walk())) break;
  }

  /** One slice; true: the walk is not over. */
  async #auditTickets(): Promise<boolean> {
    const { missing, orphans, upto } = await this.#auditor.tick();
    const { log } = this.#options;
    if (missing.length > 0)
      log.warn({ missing: missing.length }, 'queued runs had lost their tickets; they are made again');
    if (orphans.length > 0)
      log.warn(
        { orphans: orphans.length },
        'tickets of runs that are not queued were left; they are deleted',
      );
    return upto !== undefined;
  }

  /** One slice; true: the walk is not over. */
  async #auditRuns(): Promise<boolean> {
    const { mended, upto } = await this.#auditor.runs();
    this.#tellMended(mended);
    return upto !== undefined;
  }

  #tellMended(mended: readonly Mended[]): void {
    const { log, onProgress } = this.#options;
    for (const [violation, found] of Map.groupBy(mended, (each) => each.violation)) {
      const [done, left] = [found.filter(({ repair }) => repair), found.filter(({ repair }) => !repair)];
      const details = (some: readonly Mended[]) => some.slice(0, told).map(({ detail }) => detail);
      if (done.length > 0)
        log.warn(
          { violation, found: done.length, details: details(done), repair: done[0]?.repair },
          'what must never be was found and mended: a fault of Lockkeeper, or somebody wrote to its tables',
        );
      if (left.length > 0)
        log.error(
          { violation, found: left.length, details: details(left) },
          'what must never be was found and could not be mended; see `lockkeeper doctor --audit`',
        );
    }
    if (mended.length > 0) onProgress(allWakes);
  }

  start(): void {
    const onError = (error: Error) =>
      this.#options.log.error({ err: error }, 'the coordinator failed and tries again');
    const { database, queue } = this.#options;
    const tickets = loop({
      tick: () => keepTickets(database, queue).then(() => false),
      onError,
      everyMs: ticketsEveryMs,
    });
    const keeping = loop({
      tick: () => this.#keepInTurn().then(() => false),
      onError,
      everyMs: keeperEveryMs,
    });
    this.#loops = [loop({ tick: () => this.#pass({ tickets, keeping }), onError }), tickets, keeping];
  }

  /** One pass, and what it leaves to the other loops. True: there is more to do. */
  async #pass({ tickets, keeping }: Record<'tickets' | 'keeping', Loop>): Promise<boolean> {
    const { database, queue, workers, onProgress } = this.#options;
    const beside = (workers?.() ?? []).filter(({ lease }) => lease !== undefined);
    const leases = beside.flatMap(({ lease }) => lease ?? []);
    const outside = monotonicMs() >= this.#outsideFromMs;
    const told = this.#told;
    this.#told = false;
    // What it was told of needs no look.
    const first = told ? await admitAll(database.execute) : undefined;
    if (first && first.admitted.length > 0) onProgress(['claim']);
    const passed = await pass(database, queue, { outside, leases });
    for (const worker of beside) worker.looked(passed.claim);
    this.#tell(passed);
    // Who admits just now may have looked before what we were told of.
    if (first?.busy) onProgress(['admit']);
    if (outside) this.#outsideFromMs = foundOutside(passed) ? 0 : monotonicMs() + outsideEveryMs;
    if (passed.tickets || first?.admitted.length) tickets.wake();
    // What was seen just before this pod took its turn says nothing new.
    if (passed.keep && !this.#keeps && !this.#nobodyKeeps) {
      this.#nobodyKeeps = true;
      keeping.wake();
    }
    const { admitted, ended, readied, submitted, canceled, more } = passed;
    return more || first?.more || admitted.length + ended + readied + submitted + canceled.length > 0;
  }

  readonly wakes = ['admit'] as const;

  wake(here = false): void {
    this.#told ||= here;
    this.#loops[0]?.wake();
  }

  /** Finishes the pass that runs. What is not done another coordinator does, or the next start. */
  async stop(): Promise<void> {
    await Promise.all(this.#loops.map((each) => each.stop()));
    await this.#keeper.close();
    if (this.#keeps)
      await this.#turn(0).catch((error) =>
        this.#options.log.warn(
          { err: error },
          'the turn to keep could not be given back; another pod has it soon',
        ),
      );
    this.#keeps = false;
  }
}

const foundOutside = ({ submitted, rejected, canceled, remade, failures }: Ticked) =>
  submitted + rejected + canceled.length + remade.length + failures.length > 0;
