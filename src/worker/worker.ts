/**
 * A worker: claims ready steps as far as it has room, calls their handlers and finishes them. One exchange is in flight
 * at a time: what ended since the last one is finished, and room is filled, in one statement.
 *
 * On failure: an exchange that fails is made again (a finish is answered `already`, a claim keeps its number). When the
 * lease has ended all handlers are aborted, and a new lease is opened. A worker that dies is reaped; others go on.
 */

import { hostname } from 'node:os';
import { Worker as Thread } from 'node:worker_threads';
import type { Database } from '../database.ts';
import { LeaseEndedError } from '../errors.ts';
import { type AnyJob, type Logger, register } from '../jobs.ts';
import { type Accepts, type Exchanged, type JobVersion, Lease } from '../leases.ts';
import type { Claimed, Ending } from '../steps.ts';
import { afterWhatIsDue, delay, idleMs, type Loop, loop, type Wake } from '../wake.ts';
import { Exchanging } from './exchanging.ts';
import { runHandler } from './handler.ts';
import { Held, refOf } from './held.ts';
import type { FromRenewal, RenewalData } from './renewal.ts';

export type WorkerOptions = {
  /** The worker's name, for people; host and process id if left out. */
  name?: string | undefined;
  /** How many steps run at once; 10 if left out. */
  room?: number | undefined;
  /** Milliseconds after which its steps go to others when it does not renew its lease; 15,000 if left out. */
  leaseMs?: number | undefined;
  /** Milliseconds that handlers get to end when the worker stops, before they are aborted; 30,000 if left out. */
  graceMs?: number | undefined;
  /**
   * Which versions of its jobs it accepts, of all jobs or of each by name: `same` (if left out: those with the same
   * steps and edges as its own), `exact` (its own alone) or `any`.
   */
  accepts?: Accepts | Readonly<Record<string, Accepts>> | undefined;
};

export type WorkerParts = WorkerOptions & {
  database: Database;
  jobs: ReadonlyMap<string, AnyJob>;
  log: Logger;
  /** Called with what an exchange left for others to do. */
  onProgress: (wakes: readonly Wake[]) => void;
};

const defaults = { room: 10, leaseMs: 15_000, graceMs: 30_000 };
/** How long an aborted handler may take to end before its step is left to others. */
const abortedMs = 2_000;
/** The longest that a timer can be; a longer timeout is told by the renewal. */
const longestTimerMs = 2_147_483_647;

export class Worker {
  readonly name: string;
  readonly #parts: WorkerParts;
  readonly #room: number;
  readonly #leaseMs: number;
  readonly #held: Held;
  readonly #running = new Set<Promise<void>>();
  #ended: Ending[] = [];
  #lease: Lease | undefined;
  /** Under that lease. */
  #exchanging: Exchanging | undefined;
  #renewal: Thread | undefined;
  #loop: Loop | undefined;
  #draining = false;
  /** This process told it of something to do, and nobody else. */
  #told = false;

  constructor(parts: WorkerParts) {
    this.#parts = parts;
    this.name = parts.name ?? `${hostname()}-${process.pid}`;
    this.#room = parts.room ?? defaults.room;
    this.#leaseMs = parts.leaseMs ?? defaults.leaseMs;
    this.#held = new Held((change) => this.#renewal?.postMessage(change));
  }

  /** How many steps it holds. */
  get running(): number {
    return this.#held.size;
  }

  /** Registers its jobs, opens its lease and renews it from now on; ticks by hand until `start`. */
  async open(): Promise<void> {
    const { database, jobs } = this.#parts;
    const versions: JobVersion[] = [];
    for (const job of jobs.values()) {
      const { accepts } = this.#parts;
      const registered = await register(database.execute, job);
      versions.push({
        ...registered,
        accepts: typeof accepts === 'object' ? accepts[registered.job] : accepts,
      });
    }
    if (!this.#renewal) await this.#startRenewal();
    const options = { worker: this.name, room: this.#room, versions, leaseMs: this.#leaseMs };
    const lease = await Lease.open(database.execute, options);
    this.#renewal?.postMessage({ lease: lease.id });
    this.#lease = lease;
    this.#exchanging = new Exchanging({ lease, lateMs: this.#renewEveryMs, log: this.#parts.log });
    this.#parts.onProgress(['admit']);
  }

  /** Starts the renewal, and resolves when it is connected. */
  #startRenewal(): Promise<void> {
    const { database, log } = this.#parts;
    const data: RenewalData = {
      connectionString: database.connectionString,
      schema: database.schema,
      leaseMs: this.#leaseMs,
      everyMs: this.#renewEveryMs,
    };
    // Beside this file: renewal.ts from source, renewal.js from a build.
    const file = new URL(import.meta.url.replace(/worker(\.[jt]s)$/, 'renewal$1'));
    const thread = new Thread(file, { workerData: data });
    this.#renewal = thread;
    const { promise, resolve, reject } = Promise.withResolvers<void>();
    thread.on('message', (message: FromRenewal) => {
      if ('ready' in message) resolve();
      else if ('ended' in message) this.#loseLease(message.ended);
      else if ('failed' in message)
        log.warn({ reason: message.failed }, 'the lease could not be renewed; trying again');
      else for (const abort of message.aborts) this.#held.abort(abort, abort.reason);
    });
    thread.on('error', (error) => {
      reject(error);
      log.error({ err: error }, 'the renewal of the lease stopped; a new lease is opened');
      this.#renewal = undefined;
      if (this.#lease) this.#loseLease(this.#lease.id);
    });
    return promise;
  }

  get #renewEveryMs(): number {
    return Math.max(25, Math.floor(this.#leaseMs / 3));
  }

  #loseLease(id: string): void {
    if (this.#lease?.id !== id) return;
    this.#parts.log.error({ worker: this.name }, 'the lease has ended: everything that runs here is aborted');
    this.#lease = undefined;
    this.#held.abortAll('lost');
    this.#loop?.wake();
  }

  /**
   * One exchange: finishes what ended, then claims as far as there is room and starts the handlers. True: it is worth
   * another right now.
   */
  async tick(): Promise<boolean> {
    try {
      if (!this.#lease) {
        if (this.#draining) return false;
        await this.open();
      }
      // Steps that started together mostly end together: one exchange for all, instead of one that the others wait for.
      await afterWhatIsDue();
      return (await this.#exchange()) || this.#ended.length > 0;
    } catch (error) {
      if (!(error instanceof LeaseEndedError) || !this.#lease) throw error;
      this.#loseLease(this.#lease.id);
      return true;
    }
  }

  async #exchange(): Promise<boolean> {
    const [told, lease, exchanging] = [this.#told, this.#lease, this.#exchanging];
    const ended = this.#ended;
    const room = this.#draining ? 0 : this.#room - this.#held.size + ended.length;
    if (!lease || !exchanging) return false;
    this.#told = false;
    if (ended.length === 0 && room <= 0) {
      // What it was told of is for others.
      if (told) this.#parts.onProgress(['claim']);
      return false;
    }
    this.#ended = [];
    const exchanged = await exchanging.exchange(ended, room).catch((error) => {
      this.#ended = [...ended, ...this.#ended];
      throw error;
    });
    const { answers, steps, more, late, wakes } = exchanged;
    this.#answered(ended, answers);
    this.#held.add(steps);
    // Nobody has started them, so others may.
    const unsure = late || this.#lease !== lease;
    for (const step of steps) {
      if (unsure || this.#draining) this.#ended.push({ ...refOf(step), outcome: 'returned' });
      else this.#start(step);
    }
    if (wakes.length > 0 && (told || ended.length + steps.length > 0)) this.#parts.onProgress(wakes);
    return more || unsure;
  }

  #answered(ended: readonly Ending[], answers: Exchanged['answers']): void {
    const again = ended.filter((_, i) => answers[i] === 'retry');
    this.#ended.push(...again);
    this.#held.remove(ended.filter((_, i) => answers[i] !== 'retry'));
    for (const [i, answer] of answers.entries()) {
      if (answer === 'refused')
        this.#parts.log.warn({ attempt: ended[i] }, 'a finished step was refused: it was no longer ours');
    }
  }

  #start(step: Claimed): void {
    const { jobs, log } = this.#parts;
    const signal = this.#held.signalOf(step);
    const lines = childOf(log, { run: step.runId, job: step.job, step: step.step, attempt: step.attempt });
    const over = new AbortController();
    if (step.timeoutMs !== null && step.timeoutMs <= longestTimerMs) {
      void delay(step.timeoutMs, over.signal).then(() => {
        if (!over.signal.aborted) this.#held.abort(step, 'timed out');
      });
    }
    const progress = (value: unknown) => lines.info({ progress: value }, 'progress');
    const running = runHandler({ job: jobs.get(step.job), step, signal, log: lines, progress }).then(
      (ending) => {
        over.abort();
        this.#running.delete(running);
        this.#end(step, ending, signal);
      },
    );
    this.#running.add(running);
  }

  #end(step: Claimed, ending: Ending, signal: AbortSignal): void {
    if (ending.outcome === 'failed') {
      childOf(this.#parts.log, { run: step.runId, job: step.job, step: step.step }).warn(
        { err: ending.error },
        'a step failed',
      );
    }
    const reason = signal.aborted ? (signal.reason as { reason?: string }).reason : undefined;
    if (reason === 'lost' || reason === 'timed out') this.#held.remove([step]);
    else this.#ended.push(ending);
    this.#loop?.wake();
  }

  /** Ticks by itself from now on. */
  start(): void {
    this.#loop = loop({
      tick: () => this.tick(),
      onError: (error) => this.#parts.log.error({ err: error }, 'the worker failed and tries again'),
    });
  }

  readonly wakes = ['claim'] as const;

  wake(here = false): void {
    this.#told ||= here;
    this.#loop?.wake();
  }

  /** Whether it would take a step now. */
  get hasRoom(): boolean {
    return !this.#draining && this.#lease !== undefined && this.#held.size < this.#room;
  }

  /** The lease that it claims under; undefined while it would not claim. */
  get lease(): string | undefined {
    return this.#draining ? undefined : this.#lease?.id;
  }

  /** A coordinator in this process looked whether it should claim: it need not ask itself, as long as that goes on. */
  looked(claim: boolean): void {
    if (claim) this.#loop?.wake();
    else this.#loop?.putOff(2 * idleMs);
  }

  /** Resolves when the renewal has closed its connection. */
  async #stopRenewal(): Promise<void> {
    const thread = this.#renewal;
    if (!thread) return;
    this.#renewal = undefined;
    const { promise, resolve } = Promise.withResolvers<void>();
    thread.once('exit', () => resolve());
    thread.postMessage({ stop: true });
    await promise;
  }

  /** Waits until all handlers have ended, and no longer than so many milliseconds. */
  async #handlersEnd(atMostMs: number): Promise<void> {
    const ended = new AbortController();
    const all = Promise.all(this.#running).then(() => ended.abort());
    await Promise.race([all, delay(atMostMs, ended.signal)]);
    ended.abort();
  }

  /**
   * Drains: claims nothing more, lets handlers end for `graceMs`, aborts what is left, finishes all and ends the lease.
   * What does not stop even then is tried again by others.
   */
  async stop(): Promise<void> {
    this.#draining = true;
    await this.#handlersEnd(this.#parts.graceMs ?? defaults.graceMs);
    if (this.#running.size > 0) {
      this.#held.abortAll('draining');
      await this.#handlersEnd(abortedMs);
    }
    await this.#loop?.stop();
    while (this.#ended.length > 0 && this.#lease) await this.tick();
    const lease = this.#lease;
    this.#lease = undefined;
    await this.#stopRenewal();
    await lease?.close();
    this.#parts.onProgress(['admit', 'claim']);
  }
}

/** The logger with fields on every line, if it can (pino can). */
export function childOf(log: Logger, fields: object): Logger {
  return 'child' in log && typeof log.child === 'function' ? (log.child(fields) as Logger) : log;
}
