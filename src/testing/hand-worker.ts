/**
 * A worker without loop, thread and timer: it claims, runs and finishes like any other, when it is told to. Time is the
 * database's alone, so it renews its lease and aborts what is over when that clock is moved.
 */

import type { Database } from '../database.ts';
import { LockkeeperError } from '../errors.ts';
import type { AnyHandler } from '../jobs/types.ts';
import { type AnyJob, type Logger, register } from '../jobs.ts';
import { Lease } from '../leases.ts';
import type { Claimed, Ending } from '../steps.ts';
import { delay } from '../wake.ts';
import { finishAll } from '../worker/finishing.ts';
import { runHandler } from '../worker/handler.ts';
import { Held, keyOf } from '../worker/held.ts';
import { childOf } from '../worker/worker.ts';

/** What runs for a step in place of its job's handler. `settled`: nobody waits for its end once this resolves. */
export type Replacement = { handler: AnyHandler; settled?: Promise<unknown> };

export type HandWorkerOptions = {
  database: Database;
  jobs: ReadonlyMap<string, AnyJob>;
  log: Logger;
  room: number;
  /** Milliseconds of the real clock that a handler may take before `tick` gives up waiting for it. */
  patienceMs: number;
  /** Asked for each step that starts; undefined: its job's handler. */
  replacementOf: (step: Claimed) => Replacement | undefined;
  now: () => number;
};

type Running = { step: Claimed; timesOutAt: number; held: boolean; quiet: Promise<unknown> };

/** The longest that SQL takes: it does not end by itself. */
const leaseMs = 2_147_483_647;

export class HandWorker {
  readonly #options: HandWorkerOptions;
  readonly #lease: Lease;
  readonly #held = new Held(() => undefined);
  readonly #running = new Map<string, Running>();
  #ended: Ending[] = [];
  #gone = false;

  private constructor(options: HandWorkerOptions, lease: Lease) {
    this.#options = options;
    this.#lease = lease;
  }

  /** Registers the jobs and opens a lease that serves them. */
  static async open(options: HandWorkerOptions): Promise<HandWorker> {
    const { execute } = options.database;
    const versions = [];
    for (const job of options.jobs.values()) {
      versions.push(await register(execute, job));
    }
    const { room } = options;
    return new HandWorker(options, await Lease.open(execute, { worker: 'test', room, versions, leaseMs }));
  }

  /** Finishes what ended, claims, and waits for what it started; answers whether anything happened. */
  async tick(): Promise<boolean> {
    await this.renew();
    await this.#quiet();
    const finished = await this.#finish();
    const claimed = await this.#claim();
    await this.#quiet();
    return finished + claimed + this.#ended.length > 0;
  }

  async #finish(): Promise<number> {
    const ended = this.#ended;
    if (ended.length === 0) return 0;
    this.#ended = [];
    await finishAll(this.#lease, ended, this.#options.log);
    this.#held.remove(ended);
    return ended.length;
  }

  async #claim(): Promise<number> {
    let claimed = 0;
    for (;;) {
      const { steps, more } = await this.#lease.claim(this.#options.room - this.#held.size);
      this.#held.add(steps);
      for (const step of steps) this.#start(step);
      claimed += steps.length;
      if (!more) return claimed;
    }
  }

  #start(step: Claimed): void {
    const { jobs, log, replacementOf, now } = this.#options;
    const replaced = replacementOf(step);
    const job = jobs.get(step.job);
    const lines = childOf(log, { run: step.runId, job: step.job, step: step.step, attempt: step.attempt });
    const running = runHandler({
      job: job && replaced ? withHandler(job, replaced.handler) : job,
      step,
      signal: this.#held.signalOf(step),
      log: lines,
      progress: (value) => lines.info({ progress: value }, 'progress'),
    }).then((ending) => this.#end(step, ending));
    const quiet = replaced?.settled ? Promise.race([running, replaced.settled]) : running;
    const timesOutAt = step.timeoutMs === null ? Number.POSITIVE_INFINITY : now() + step.timeoutMs;
    this.#running.set(keyOf(step), { step, timesOutAt, held: replaced?.settled !== undefined, quiet });
  }

  /** As in every worker, what was lost or has timed out is not finished: others do. */
  #end(step: Claimed, ending: Ending): void {
    const signal = this.#held.signalOf(step);
    this.#running.delete(keyOf(step));
    const reason = signal.aborted ? (signal.reason as { reason?: string }).reason : undefined;
    if (this.#gone || reason === 'lost' || reason === 'timed out') this.#held.remove([step]);
    else this.#ended.push(ending);
  }

  /** Names what it holds, and aborts what timed out, was canceled or is no longer its own. */
  async renew(): Promise<void> {
    const now = this.#options.now();
    for (const { step, timesOutAt } of this.#running.values())
      if (now > timesOutAt) this.#held.abort(step, 'timed out');
    const named = [...[...this.#running.values()].map(({ step }) => step), ...this.#ended];
    for (const abort of await this.#lease.renew(named, leaseMs)) this.#held.abort(abort, abort.reason);
  }

  /** Waits until every handler has ended that is not held. */
  async #quiet(): Promise<void> {
    const { patienceMs } = this.#options;
    const over = new AbortController();
    const all = Promise.all([...this.#running.values()].map(({ quiet }) => quiet)).then(() => true);
    const inTime = await Promise.race([all, delay(patienceMs, over.signal).then(() => false)]);
    over.abort();
    if (inTime) return;
    const names = [...this.#running.values()]
      .filter(({ held }) => !held)
      .map(({ step }) => `${step.job}.${step.step} of run ${step.runId}`);
    throw new LockkeeperError(`After ${patienceMs} ms a handler still runs: ${names.join(', ')}.`, {
      hint: 'settle waits for handlers. Replace one that waits for something (kit.handle), keep its step open on purpose (kit.hold), or set patienceMs.',
    });
  }

  /** It is gone: what it ran is lost, and what its handlers say from now on is not heard. */
  async crash(): Promise<void> {
    this.#gone = true;
    await this.#lease.close();
    this.#held.abortAll('lost');
  }
}

function withHandler(job: AnyJob, handler: AnyHandler): Pick<AnyJob, 'handlerOf' | 'parseInput'> {
  return { handlerOf: () => handler, parseInput: (input) => job.parseInput(input) };
}
