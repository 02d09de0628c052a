/**
 * The test kit: a database of its own whose clock stands still, a coordinator and a worker that move only when the
 * test says so, and the jobs' real handlers, each of which a test can replace or hold open.
 */

import { readFile } from 'node:fs/promises';
import { tidy } from '../coordinator/tick.ts';
import type { ExecutorSource } from '../database.ts';
import { InvalidInputError, LockkeeperError } from '../errors.ts';
import type { AnyJob, Handler, InputOf, Logger } from '../jobs.ts';
import type { LimitChange } from '../limits/apply.ts';
import type { Lockkeeper } from '../lockkeeper.ts';
import { sqlFolder } from '../migrate.ts';
import type { Queue } from '../queue/boss.ts';
import { type RunState, resultsOf } from '../runs.ts';
import type { SubmitOptions } from '../schema.ts';
import type { Reason } from '../slots.ts';
import { delay, Wakes } from '../wake.ts';
import { nextDue } from './due.ts';
import { HandWorker } from './hand-worker.ts';
import { HeldStep } from './held-step.ts';
import { Replacements } from './replacements.ts';
import { mostRounds, pauseMs, settle } from './settle.ts';
import {
  type ContextOf,
  type Duration,
  millisecondsOf,
  type OutputOf,
  type ResultOf,
  type Returned,
  type Run,
  runIdOf,
  type StepName,
  type StepsOf,
} from './types.ts';

export type KitParts = {
  lockkeeper: Lockkeeper;
  queue: Queue;
  jobs: readonly AnyJob[];
  log: Logger;
  room: number;
  patienceMs: number;
  /** Closes all connections, and drops the database. */
  dispose: () => Promise<void>;
};

export class TestKit {
  /** Lockkeeper on the test's database, for the code under test and for all that the kit has no method for. */
  readonly lockkeeper: Lockkeeper;
  readonly #parts: KitParts;
  readonly #jobs: ReadonlyMap<string, AnyJob>;
  readonly #replacements: Replacements;
  readonly #wakes: Wakes;
  #worker!: HandWorker;
  #now = 0;
  #turn: Promise<unknown> = Promise.resolve();
  #closed: Promise<void> | undefined;

  /** Use `testLockkeeper`. */
  constructor(parts: KitParts) {
    this.lockkeeper = parts.lockkeeper;
    this.#parts = parts;
    this.#jobs = new Map(parts.jobs.map((job) => [job.name, job]));
    this.#replacements = new Replacements(this.#jobs);
    this.#wakes = new Wakes(parts.lockkeeper.database, (error) =>
      parts.log.warn({ err: error }, 'a wake could not be sent'),
    );
  }

  /** @internal Stops the clock and remembers the database as it is, for `reset`. */
  async open(at: string | null): Promise<this> {
    const { execute } = this.lockkeeper.database;
    await execute("select lockkeeper.stop_clock(date_trunc('milliseconds', coalesce($1, now())))", [at]);
    await execute(await readFile(`${sqlFolder}/testing.sql`, 'utf8'), []);
    await execute('select lockkeeper_testing.remember()', []);
    await this.#begin();
    return this;
  }

  /** The address of the test's database, for clients of the test's own. */
  get connectionString(): string {
    return this.lockkeeper.database.connectionString;
  }

  /** The time of the clock that stands still. */
  get now(): Date {
    return new Date(this.#now);
  }

  /** Replaces all limits; an object in the shape of `lockkeeper.yaml`. What follows happens at the next `settle`. */
  applyConfig(config: unknown): Promise<LimitChange[]> {
    return this.lockkeeper.applyConfig(config);
  }

  /** Submits a run; nothing of it starts before `settle`. What it answers may be given wherever a run is asked for. */
  submit<J extends AnyJob>(
    job: J | string,
    input?: InputOf<J>,
    options?: SubmitOptions & { within?: ExecutorSource },
  ): Promise<Exclude<Run<J>, string>> {
    return this.lockkeeper.submit(job, input, options);
  }

  /**
   * Lets happen all that can happen now: runs are admitted, steps start, their handlers run and are waited for, and so
   * on until nothing changes. Time does not pass.
   * @throws {LockkeeperError} when a handler that is not held takes longer than `patienceMs`.
   */
  settle(): Promise<void> {
    return this.#inTurn(() => this.#settle());
  }

  /** Settles until `work` is done, for code that submits and waits itself: `kit.settleUntil(lockkeeper.run(load))`. */
  async settleUntil<T>(work: Promise<T>): Promise<T> {
    const done = new AbortController();
    const end = () => done.abort();
    work.then(end, end);
    while (!done.signal.aborted) {
      await this.settle();
      // The results that Lockkeeper itself waits for.
      this.#wakes.send();
      await delay(pauseMs, done.signal);
    }
    return work;
  }

  /** One move at a time, however they were called. */
  #inTurn<T>(move: () => Promise<T>): Promise<T> {
    const moved = this.#turn.then(move);
    this.#turn = moved.catch(() => undefined);
    return moved;
  }

  #settle(): Promise<void> {
    return settle(this.lockkeeper.database, this.#parts.queue, this.#worker);
  }

  /**
   * Moves the clock on, and settles before, after, and at each moment between for which something waits (a backoff, a
   * timeout, a delay): so an hour with five attempts is five attempts. What has grown old then is history, or ends.
   */
  async advance(duration: Duration): Promise<void> {
    const ms = millisecondsOf(duration);
    await this.#inTurn(async () => {
      const until = this.#now + ms;
      await this.#settle();
      for (let due = await this.#due(); this.#now < until; due = await this.#due()) {
        await this.#moveTo(Math.min(due ?? until, until));
        await this.#settle();
      }
      await tidy(this.lockkeeper.database.execute);
    });
  }

  /** Settles, and moves the clock on as often as something waits for a time; held steps time out then too. */
  runUntilIdle(): Promise<void> {
    return this.#inTurn(async () => {
      await this.#settle();
      for (let round = 0; round < mostRounds; round += 1) {
        const due = await this.#due();
        if (due === undefined) return;
        await this.#moveTo(due);
        await this.#settle();
      }
      throw new LockkeeperError(`After ${mostRounds} moments something still waits for a time.`);
    });
  }

  /**
   * The end of a run: its state, the outputs of the steps that succeeded, the errors of those that failed.
   * @throws {LockkeeperError} when it has not ended; the message says what it waits for.
   */
  async result<J extends AnyJob>(run: Run<J>): Promise<ResultOf<J>> {
    const [result] = await resultsOf(this.lockkeeper.database.execute, [runIdOf(run)]);
    if (result) return result as ResultOf<J>;
    const state = await this.stateOf(run);
    const reasons = (await this.why(run)).map(({ step, sentence }) => `${step ?? 'The run'}: ${sentence}`);
    throw new LockkeeperError(`Run ${runIdOf(run)} is ${state}. ${reasons.join(' ')}`.trim(), {
      hint: 'settle lets happen what can happen now, runUntilIdle also what waits for time; a held step waits for the test.',
    });
  }

  /** Why a run, or one of its steps, is not starting; empty: nothing of it waits. */
  why<J extends AnyJob>(run: Run<J>, step?: StepName<J>): Promise<Reason[]> {
    return this.lockkeeper.why(runIdOf(run), step);
  }

  /** `queued`, `admitted`, `running`, `succeeded`, `failed` or `canceled`. */
  async stateOf<J extends AnyJob>(run: Run<J>): Promise<RunState> {
    const [row] = await this.#rows('select state from lockkeeper.runs where run_id = $1', [runIdOf(run)]);
    if (!row) throw new InvalidInputError(`There is no run ${runIdOf(run)}.`, {});
    return row.state as RunState;
  }

  /** The steps of a run by their names: state, number of attempts, output or error of the last one. */
  async steps<J extends AnyJob>(run: Run<J>): Promise<StepsOf<J>> {
    const rows = await this.#rows(
      `select step, state, attempts, losses, last_outcome as outcome, output, error
       from lockkeeper.steps where run_id = $1 order by place`,
      [runIdOf(run)],
    );
    return Object.fromEntries(rows.map(({ step, ...row }) => [step, row])) as StepsOf<J>;
  }

  /** Runs this in place of the step's handler, in attempts that start from now on, until `reset`. */
  handle<J extends AnyJob, S extends StepName<J>>(
    job: J,
    step: S,
    handler: Handler<ContextOf<J>['input'], ContextOf<J>['outputs'], Returned<J, S>>,
  ): void {
    this.#replacements.handle(job, step, handler);
  }

  /**
   * Holds the next attempt of the step open (of this run, if one is given): it starts, takes its slots, and ends when
   * the test says so. Hold it several times to hold several attempts.
   */
  hold<J extends AnyJob, S extends StepName<J>>(
    job: J,
    step: S,
    run?: Run<J>,
  ): HeldStep<OutputOf<J, S>, ContextOf<J>> {
    const held = new HeldStep<OutputOf<J, S>, ContextOf<J>>(`Step ${step} of job ${job.name}`);
    const runId = run === undefined ? undefined : runIdOf(run);
    this.#replacements.hold(job, step, runId, held);
    return held;
  }

  /**
   * The worker dies as if its process were killed, and another takes its place. What it ran (held steps, then) is lost
   * without a word; the next `settle` tries it again, as `maxLosses` allows.
   */
  crashWorker(): Promise<void> {
    return this.#inTurn(async () => {
      await this.#worker.crash();
      await this.#open();
    });
  }

  /** Makes the database as new: no runs, no limits, no deployments, the clock at its start; no handler is replaced or held. */
  reset(): Promise<void> {
    return this.#inTurn(async () => {
      await this.#worker.crash();
      this.#replacements.clear();
      await this.#rows('select lockkeeper_testing.reset()');
      await this.#begin();
    });
  }

  /** Aborts what is held, and drops the database. Also done by `await using`. */
  close(): Promise<void> {
    this.#closed ??= this.#inTurn(async () => {
      await this.#worker.crash();
      await this.#wakes.close();
      await this.#parts.dispose();
    });
    return this.#closed;
  }

  [Symbol.asyncDispose](): Promise<void> {
    return this.close();
  }

  async #begin(): Promise<void> {
    const [{ now }] = (await this.#rows('select lockkeeper.now() as now')) as [{ now: Date }];
    this.#now = now.getTime();
    await this.#open();
  }

  async #open(): Promise<void> {
    const { log, room, patienceMs } = this.#parts;
    this.#worker = await HandWorker.open({
      database: this.lockkeeper.database,
      jobs: this.#jobs,
      log,
      room,
      patienceMs,
      replacementOf: (step) => this.#replacements.of(step),
      now: () => this.#now,
    });
  }

  #due(): Promise<number | undefined> {
    return nextDue(this.lockkeeper.database.execute, this.now);
  }

  async #moveTo(time: number): Promise<void> {
    await this.#rows('select lockkeeper.advance_clock($1)', [(time - this.#now) / 1_000]);
    this.#now = time;
    // Before anybody ticks: no move is so long that the worker's lease ends with it.
    await this.#worker.renew();
  }

  async #rows(text: string, values: unknown[] = []): Promise<Record<string, unknown>[]> {
    return (await this.lockkeeper.database.execute(text, values)).rows;
  }
}
