/** `createLockkeeper`: wires the parts together. */

import pino from 'pino';
import { Coordinator } from './coordinator/coordinator.ts';
import { type Database, type ExecutorSource, executor, openDatabase, transaction } from './database.ts';
import { InvalidInputError } from './errors.ts';
import { type AnyJob, type InputOf, type Job, type Logger, type OutputsOf, register } from './jobs.ts';
import { addDeployment, type DeploymentKind, deleteDeployment, type LimitChange } from './limits/apply.ts';
import { Limits } from './limits/limits.ts';
import { openQueue, type Queue, type QueueSettings } from './queue/boss.ts';
import {
  cancelRuns,
  Results,
  type Retried,
  type RunResult,
  type RunState,
  retryRuns,
  type Submitted,
  setPriority,
  submitRuns,
} from './runs.ts';
import { parseSubmission, type SubmitOptions, submissionOf } from './schema.ts';
import { type Reason, why } from './slots.ts';
import { allWakes, type Loop, loop, type Wake, Wakes, type Woken } from './wake.ts';
import { Worker, type WorkerOptions } from './worker/worker.ts';

export type LockkeeperOptions = {
  /** `postgres://user:password@host:port/database` */
  connectionString: string;
  /** The jobs that this process can run. A process that only submits needs none. */
  jobs?: readonly AnyJob[] | undefined;
  /** The schema of this Lockkeeper (`LOCKKEEPER_SCHEMA`), beside which `…_data` holds its state; `lockkeeper` if left out. */
  schema?: string | undefined;
  /** The schema of pg-boss (`PGBOSS_SCHEMA`); `pgboss` if left out. */
  pgBossSchema?: string | undefined;
  /** Where wakes are heard, past a pooler in transaction mode, which lets none through; `connectionString` if left out. */
  wakesConnectionString?: string | undefined;
  /** Most connections of the pool; 10 if left out. A worker has two more of its own. */
  maxConnections?: number | undefined;
  /** Where lines go; pino to standard output, from level `LOG_LEVEL` (info) on, if left out. */
  log?: Logger | undefined;
};

/** Something that runs until it is stopped. */
export type Working = {
  /** Drains: claims nothing more, finishes or hands back, within the worker's `graceMs`. */
  stop(): Promise<void>;
};

/** Opens Lockkeeper on a database that was migrated. Nothing runs until `work`, `startWorker` or `startCoordinator`. */
export async function createLockkeeper(options: LockkeeperOptions): Promise<Lockkeeper> {
  const log = options.log ?? pino({ level: process.env.LOG_LEVEL ?? 'info' });
  const database = openDatabase({
    connectionString: options.connectionString,
    schema: options.schema,
    ...(options.maxConnections === undefined ? {} : { max: options.maxConnections }),
    onError: (error) => log.warn({ err: error }, 'a database connection was lost'),
  });
  const settings: QueueSettings = {
    schema: options.pgBossSchema,
    onWarning: (message, data) => log.warn({ data }, `pg-boss: ${message}`),
    onError: (error) => log.error({ err: error }, 'pg-boss failed'),
  };
  try {
    const queue = await openQueue(database, settings);
    const { jobs = [], wakesConnectionString = database.connectionString } = options;
    return new Lockkeeper({ database, queue, settings, log, jobs, wakesConnectionString });
  } catch (error) {
    await database.close();
    throw error;
  }
}

type Part = Woken & Working;

type Parts = {
  database: Database;
  queue: Queue;
  settings: QueueSettings;
  log: Logger;
  jobs: readonly AnyJob[];
  wakesConnectionString: string;
};

export class Lockkeeper {
  readonly #parts: Parts;
  readonly #jobs: ReadonlyMap<string, AnyJob>;
  readonly #wakes: Wakes;
  readonly #working = new Map<Working, Part>();
  readonly #results: Results;
  readonly #closing = new AbortController();
  #looking: Working | undefined;
  /** The limits: list, apply, plan; set, override and pause them while things run. */
  readonly limits: Limits;

  /** Use `createLockkeeper`. */
  constructor(parts: Parts) {
    this.#parts = parts;
    this.#jobs = new Map(parts.jobs.map((job) => [job.name, job]));
    if (this.#jobs.size < parts.jobs.length) throw new InvalidInputError('Two jobs have the same name.', {});
    this.#results = new Results(parts.database.execute);
    this.limits = new Limits(parts.database.execute, () => this.#progress());
    const { database, wakesConnectionString: connectionString } = parts;
    this.#wakes = new Wakes({ ...database, connectionString }, (error) =>
      parts.log.warn({ err: error }, 'a wake could not be sent or heard; ticks go on without'),
    );
  }

  /** The database, for what this class has no method for: the views are for everybody. */
  get database(): Database {
    return this.#parts.database;
  }

  /**
   * Submits one run of a job. With `within`, in that transaction of the caller's (pg, Kysely or anything that executes
   * SQL): it exists when the caller commits, and not before.
   * @throws {InvalidInputError | UnknownJobError | UnknownDeploymentError} naming the field; then nothing is submitted.
   */
  async submit<J extends AnyJob>(
    job: J | string,
    input?: InputOf<J>,
    options: SubmitOptions & { within?: ExecutorSource } = {},
  ): Promise<Submitted> {
    const { within, ...rest } = options;
    // Those of this process are checked by submitMany.
    if (typeof job !== 'string' && this.#jobs.get(job.name) !== job) await job.parseInput(input);
    const [submitted] = await this.submitMany(
      [submissionOf(typeof job === 'string' ? job : job.name, input, rest)],
      within,
    );
    return submitted as Submitted;
  }

  /** Submits any number of runs, all or none, in one transaction or in the caller's. */
  async submitMany(submissions: readonly unknown[], within?: ExecutorSource): Promise<Submitted[]> {
    const checked = submissions.map((each) => parseSubmission(each));
    for (const { job, input } of checked) await this.#jobs.get(job)?.parseInput(input);
    const { database, queue } = this.#parts;
    if (within) return submitRuns(queue, executor(within, database.schema), checked);
    const submitted = await transaction(database, (query) => submitRuns(queue, executor(query), checked));
    this.#progress();
    return submitted;
  }

  /** Cancels a run; with `force` its running attempts end now. Answers its state; `unknown`: there is no such run. */
  async cancel(runId: string, options: { force?: boolean } = {}): Promise<RunState | 'unknown'> {
    const states = await cancelRuns(this.#parts.database.execute, [runId], options.force ?? false);
    this.#progress();
    return states.get(runId) ?? 'unknown';
  }

  /**
   * Waits for a run to end; its outputs by step. Rejects when `signal` is aborted or Lockkeeper is closed.
   * @throws {InvalidInputError} when there is no such run.
   */
  async result<Outputs = Record<string, unknown>>(
    runId: string,
    options: { signal?: AbortSignal } = {},
  ): Promise<Omit<RunResult, 'outputs'> & { outputs: Partial<Outputs> }> {
    this.#looking ??= this.#started(this.#lookForResults());
    const stopped = AbortSignal.any([this.#closing.signal, ...(options.signal ? [options.signal] : [])]);
    const ended = this.#results.waitFor(runId, stopped);
    this.#wakes.wakeHere(['end']);
    return (await ended) as Omit<RunResult, 'outputs'> & { outputs: Partial<Outputs> };
  }

  #lookForResults(): Loop & Woken {
    const onError = (error: Error) =>
      this.#parts.log.warn({ err: error }, 'results could not be read; trying again');
    const tick = () => this.#results.tick().then(() => false);
    return { ...loop({ tick, onError }), wakes: ['end'] };
  }

  /** Submits a run and waits for its end. */
  async run<Submitted_, Input, Outputs>(
    job: Job<Submitted_, Input, Outputs>,
    input?: Submitted_,
    options: SubmitOptions = {},
  ): Promise<Omit<RunResult, 'outputs'> & { outputs: Partial<OutputsOf<Job<Submitted_, Input, Outputs>>> }> {
    const { runId } = await this.submit(job, input as never, options);
    return this.result(runId);
  }

  /** Why a run, or one of its steps, is not starting; empty: nothing of it waits. */
  why(runId: string, step?: string): Promise<Reason[]> {
    return why(this.#parts.database.execute, runId, step);
  }

  /**
   * Makes a new run of one that failed or was canceled: steps that succeeded keep their outputs, the others run again.
   * `newRunId` is null, and `state` says why, for a run that cannot be tried again.
   */
  async retry(runId: string): Promise<Retried> {
    const [retried] = await retryRuns(this.#parts.database.execute, [runId]);
    this.#progress();
    return retried as Retried;
  }

  /** Gives a queued run another priority; answers its state: one that is not queued any more keeps its priority. */
  async setPriority(runId: string, priority: number): Promise<RunState | 'unknown'> {
    const states = await setPriority(this.#parts.database.execute, [runId], priority);
    this.#progress();
    return states.get(runId) ?? 'unknown';
  }

  /** Registers the jobs of this process, so that others can submit them. A worker does it when it starts. */
  async register(): Promise<void> {
    for (const job of this.#jobs.values()) await register(this.#parts.database.execute, job);
  }

  /** `limits.apply`: replaces the whole configuration. Answers what changed. */
  applyConfig(config: unknown): Promise<LimitChange[]> {
    return this.limits.apply(config);
  }

  /** Adds a deployment; repeated, it changes nothing. */
  addDeployment(name: string, kind: DeploymentKind): Promise<void> {
    return addDeployment(this.#parts.database.execute, name, kind);
  }

  /**
   * Ends a deployment: it takes no submissions any more. What becomes of its queued runs: `refuse` to delete it while
   * it has live runs (if left out), `cancel` them, or `keep` them, and they still run. Answers how many were canceled.
   */
  async deleteDeployment(name: string, queued: 'refuse' | 'cancel' | 'keep' = 'refuse'): Promise<number> {
    const canceled = await deleteDeployment(this.#parts.database.execute, name, queued);
    this.#progress();
    return canceled;
  }

  /** Starts a coordinator and a worker in this process. */
  async work(options: WorkerOptions = {}): Promise<Working> {
    const coordinator = this.startCoordinator();
    try {
      const worker = await this.startWorker(options);
      return { stop: () => worker.stop().then(() => coordinator.stop()) };
    } catch (error) {
      await coordinator.stop();
      throw error;
    }
  }

  /** Starts a worker: registers the jobs, and claims their steps from now on. */
  async startWorker(options: WorkerOptions = {}): Promise<Working> {
    const { database, log } = this.#parts;
    const worker: Worker = new Worker({
      ...options,
      database,
      log,
      jobs: this.#jobs,
      onProgress: (wakes) => this.#progress(wakes, worker),
    });
    await worker.open();
    worker.start();
    return this.#started(worker);
  }

  /** Starts a coordinator: admits runs, takes submissions, reaps. Every deployment needs at least one somewhere. */
  startCoordinator(): Working {
    const { database, queue, settings, log } = this.#parts;
    const coordinator: Coordinator = new Coordinator({
      database,
      queue,
      settings,
      log,
      onProgress: (wakes) => this.#progress(wakes, coordinator),
      workers: () => [...this.#working.values()].filter((part) => part instanceof Worker),
    });
    coordinator.start();
    return this.#started(coordinator);
  }

  #started(part: Part): Working {
    const off = this.#wakes.on(part);
    const working = {
      stop: async () => {
        this.#working.delete(working);
        await part.stop();
        off();
      },
    };
    this.#working.set(working, part);
    return working;
  }

  /** Ticks our own loops at once, and hints to all others, but for what a loop of ours looks for: it tells what it leaves. */
  #progress(wakes: readonly Wake[] = allWakes, except?: Woken): void {
    const parts = [...this.#working.values()].filter((part) => part !== except);
    const here: readonly Wake[] = [
      ...(parts.some((part) => part instanceof Coordinator) ? (['admit'] as const) : []),
      ...(parts.some((part) => part instanceof Worker && part.hasRoom) ? (['claim'] as const) : []),
    ];
    this.#wakes.wakeHere(wakes, except);
    const left = wakes.filter((wake) => !here.includes(wake));
    if (left.length > 0) this.#wakes.send(left);
  }

  /** Stops what was started here (workers first), and closes all connections. */
  async close(): Promise<void> {
    this.#closing.abort(new Error('Lockkeeper was closed.'));
    for (const working of [...this.#working.keys()].toReversed()) await working.stop();
    await this.#wakes.close();
    await this.#parts.queue.close();
    await this.#parts.database.close();
  }
}
