/**
 * The stage of a story: a database whose clock stands still, jobs whose handlers wait until the test ends them, and
 * coordinator and workers that move only when the story says so. So a story can tell at each moment what runs and
 * what waits, and nothing in it depends on speed.
 */

import { afterAll, afterEach, expect } from 'vitest';
import { coordinate } from '../../src/coordinator/tick.ts';
import type { Database } from '../../src/database.ts';
import type { AnyJob, HandlerContext, InputOf } from '../../src/jobs.ts';
import { addDeployment, applyConfig, type DeploymentKind, type LimitChange } from '../../src/limits/apply.ts';
import { openQueue, type Queue } from '../../src/queue/boss.ts';
import { cancelRuns, submitRuns } from '../../src/runs.ts';
import { type SubmitOptions, submissionOf } from '../../src/schema.ts';
import { type Reason, why } from '../../src/slots.ts';
import { Worker, type WorkerOptions } from '../../src/worker/worker.ts';
import { testDatabase } from './database.ts';
import { keepingLog } from './log.ts';

type Running = PromiseWithResolvers<unknown> & { context: HandlerContext };

/** Longer than any story, unless a worker crashes. */
const leaseMs = 7_200_000;
const pastTheLeaseSeconds = 7_201;
/** A worker that ticks more often until it has nothing to do never ends. */
const mostTicks = 200;

/** `const story = await tellStory();` at the head of a file. After each test everything is canceled and stopped. */
export async function tellStory(): Promise<Story> {
  const database = await testDatabase();
  await database.execute('select lockkeeper.stop_clock()', []);
  const queue = await openQueue(database);
  const story = new Story(database, queue);
  afterAll(() => queue.close());
  afterEach(() => story.end());
  return story;
}

export class Story {
  readonly database: Database;
  readonly queue: Queue;
  readonly log = keepingLog();
  readonly #workers = new Map<string, Worker>();
  readonly #crashed: Worker[] = [];
  readonly #running = new Map<string, Running>();
  readonly #ids = new Map<string, string>();

  constructor(database: Database, queue: Queue) {
    this.database = database;
    this.queue = queue;
  }

  async rows(text: string, values: unknown[] = []): Promise<Record<string, unknown>[]> {
    return (await this.database.execute(text, values)).rows;
  }

  /** The handler of every step: it runs until the story ends it, or until its signal is aborted. */
  readonly handler = (context: HandlerContext): Promise<unknown> => {
    const name = `${this.#nameOf(context.run.id)}.${context.step}`;
    const step = { ...Promise.withResolvers<unknown>(), context };
    this.#running.set(name, step);
    context.signal.addEventListener('abort', () => step.reject(context.signal.reason), { once: true });
    return step.promise.finally(() => {
      if (this.#running.get(name) === step) this.#running.delete(name);
    });
  };

  /** Limits as in `lockkeeper.yaml`, in place of those before. */
  apply(config: unknown): Promise<LimitChange[]> {
    return applyConfig(this.database.execute, config);
  }

  addDeployment(name: string, kind: DeploymentKind): Promise<void> {
    return addDeployment(this.database.execute, name, kind);
  }

  /** A worker that knows these jobs; `w1` with room for 100 steps if nothing else is said. */
  async work(jobs: readonly AnyJob[], options: WorkerOptions = {}): Promise<Worker> {
    const worker = new Worker({
      room: 100,
      leaseMs,
      graceMs: 0,
      name: 'w1',
      ...options,
      database: this.database,
      log: this.log,
      jobs: new Map(jobs.map((job) => [job.name, job])),
      onProgress: () => undefined,
    });
    await worker.open();
    this.#workers.set(worker.name, worker);
    return worker;
  }

  /** Submits a run, and calls it so from now on; answers its id. */
  async submit<J extends AnyJob>(
    name: string,
    job: J,
    options: SubmitOptions & { input?: InputOf<J> } = {},
  ): Promise<string> {
    const { input, ...rest } = options;
    const submission = submissionOf(job.name, input, rest);
    const [run] = await submitRuns(this.queue, this.database.execute, [submission]);
    const runId = String(run?.runId);
    this.#ids.set(name, runId);
    return runId;
  }

  /** Ticks coordinator and workers until nothing changes. */
  async settle(): Promise<void> {
    let ticks = 0;
    for (let before = '', now = await this.#look(); before !== now; now = await this.#look()) {
      before = now;
      await coordinate(this.database, this.queue);
      for (const worker of this.#workers.values()) {
        while (await worker.tick()) if (++ticks > mostTicks) throw new Error('the story does not settle');
      }
    }
  }

  async #look(): Promise<string> {
    const rows = await this.rows(
      `select r.run_id, r.state, s.place, s.state as step, s.attempts
       from lockkeeper.runs r join lockkeeper.steps s using (run_id) order by 1, 3`,
    );
    return JSON.stringify(rows);
  }

  /** Lets the handlers of these steps return nothing, and settles. */
  async finish(...steps: string[]): Promise<void> {
    for (const step of steps) this.#handlerOf(step).resolve(null);
    await this.settle();
  }

  /** Lets the handler of a step return this, and settles. */
  async finishWith(step: string, output: unknown): Promise<void> {
    this.#handlerOf(step).resolve(output);
    await this.settle();
  }

  /** Lets the handler of a step throw, and settles. */
  async fail(step: string, message = 'failed by the story'): Promise<void> {
    this.#handlerOf(step).reject(new Error(message));
    await this.settle();
  }

  /** Cancels a run, and settles. */
  async cancel(run: string, options: { force?: boolean } = {}): Promise<void> {
    await cancelRuns(this.database.execute, [this.idOf(run)], options.force ?? false);
    await this.settle();
  }

  /** Moves the database's clock on, and settles. */
  async advance(seconds: number): Promise<void> {
    await this.rows('select lockkeeper.advance_clock($1)', [seconds]);
    await this.settle();
  }

  /** A worker dies with all that it runs. Its lease (and any other) has ended when this returns. */
  async crash(name: string): Promise<void> {
    const worker = this.#workers.get(name);
    if (!worker) throw new Error(`no worker is named ${name}`);
    this.#workers.delete(name);
    this.#crashed.push(worker);
    this.#running.clear();
    await this.advance(pastTheLeaseSeconds);
  }

  /** The steps whose handlers run now, in the order of their start. */
  running(): string[] {
    return [...this.#running.keys()];
  }

  /** What the handler of a running step was given. */
  contextOf(step: string): HandlerContext {
    return this.#handlerOf(step).context;
  }

  async stateOf(run: string): Promise<unknown> {
    return (await this.rows('select state from lockkeeper.runs where run_id = $1', [this.idOf(run)]))[0]
      ?.state;
  }

  async stepsOf(run: string): Promise<Record<string, unknown>> {
    const rows = await this.rows('select step, state from lockkeeper.steps where run_id = $1', [
      this.idOf(run),
    ]);
    return Object.fromEntries(rows.map(({ step, state }) => [step, state]));
  }

  /** The keys that are full for a queued run (`r1`) or a ready step (`r1.copy`). */
  async waitingFor(subject: string): Promise<string[]> {
    const [run = '', step = null] = subject.split('.');
    const [row] = await this.rows(
      'select keys from lockkeeper.waiting where run_id = $1 and step is not distinct from $2',
      [this.idOf(run), step],
    );
    if (!row) throw new Error(`${subject} does not wait`);
    return (row.keys as string[]).map((key) => this.#readable(key)).toSorted();
  }

  /** The slots that are held, of each key that has any. */
  async inUse(): Promise<Record<string, number>> {
    const rows = await this.rows('select key, in_use from lockkeeper.keys where in_use > 0 order by key');
    return Object.fromEntries(rows.map(({ key, in_use }) => [this.#readable(String(key)), Number(in_use)]));
  }

  why(run: string, step?: string): Promise<Reason[]> {
    return why(this.database.execute, this.idOf(run), step);
  }

  idOf(run: string): string {
    const id = this.#ids.get(run);
    if (id === undefined) throw new Error(`no run is named ${run}`);
    return id;
  }

  /** Calls a run so from now on that came into being without `submit`. */
  name(name: string, runId: string): void {
    this.#ids.set(name, runId);
  }

  #nameOf(runId: string): string {
    return [...this.#ids].find(([, id]) => id === runId)?.[0] ?? runId;
  }

  /** A key of one run, with the run's name in this story for its id. */
  #readable(key: string): string {
    return key.startsWith('executor') ? key.replace(/(?<=\{)\d+/, (id) => this.#nameOf(id)) : key;
  }

  #handlerOf(step: string): Running {
    const found = this.#running.get(step);
    if (!found) throw new Error(`${step} does not run; running: ${this.running().join(', ') || 'nothing'}`);
    return found;
  }

  /** Every story ends in a sound database, and leaves an empty one. */
  async end(): Promise<void> {
    expect(await this.rows('select * from lockkeeper.violations'), 'lockkeeper.violations').toEqual([]);
    const left = await this.rows('select run_id from lockkeeper.runs where ended_at is null');
    const runIds = left.map(({ run_id }) => String(run_id));
    await cancelRuns(this.database.execute, runIds, true);
    for (const { reject } of this.#running.values()) reject(new Error('the story is over'));
    await Promise.all([...this.#workers.values(), ...this.#crashed].map((worker) => worker.stop()));
    this.#crashed.length = 0;
    this.log.lines.length = 0;
    for (const each of [this.#workers, this.#running, this.#ids]) each.clear();
    await coordinate(this.database, this.queue);
    await this.apply({});
  }
}
