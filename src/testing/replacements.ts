/** What runs in place of the handlers of steps: another handler, or a hold. */

import { InvalidInputError } from '../errors.ts';
import type { AnyHandler } from '../jobs/types.ts';
import type { AnyJob } from '../jobs.ts';
import type { Claimed } from '../steps.ts';
import type { Replacement } from './hand-worker.ts';
import type { HeldStep } from './held-step.ts';

/** Of a held step, what the worker needs, whatever the step's types are. */
type Held = Pick<HeldStep, 'handler' | 'started' | 'abort'>;
type Hold = { job: string; step: string; runId: string | undefined; held: Held };

export class Replacements {
  readonly #jobs: ReadonlyMap<string, AnyJob>;
  readonly #handlers = new Map<string, AnyHandler>();
  #holds: Hold[] = [];

  constructor(jobs: ReadonlyMap<string, AnyJob>) {
    this.#jobs = jobs;
  }

  /** @throws {InvalidInputError} when the kit does not know the job, or the job has no such step. */
  handle(job: AnyJob, step: string, handler: AnyHandler): void {
    this.#check(job, step);
    this.#handlers.set(`${job.name} ${step}`, handler);
  }

  /** @throws {InvalidInputError} as `handle`. */
  hold(job: AnyJob, step: string, runId: string | undefined, held: Held): void {
    this.#check(job, step);
    this.#holds.push({ job: job.name, step, runId, held });
  }

  /** For an attempt that starts. A hold is for one attempt; one of this very run goes first. */
  of({ job, step, runId }: Claimed): Replacement | undefined {
    const holds = this.#holds.filter((hold) => hold.job === job && hold.step === step);
    const hold = holds.find((each) => each.runId === runId) ?? holds.find((each) => each.runId === undefined);
    this.#holds = this.#holds.filter((each) => each !== hold);
    if (hold) return { handler: hold.held.handler, settled: hold.held.started };
    const handler = this.#handlers.get(`${job} ${step}`);
    return handler && { handler };
  }

  /** Forgets all; holds that nothing started under can start no more. */
  clear(): void {
    for (const { held } of this.#holds) held.abort(new Error('The test kit was reset.'));
    this.#holds = [];
    this.#handlers.clear();
  }

  #check(job: AnyJob, step: string): void {
    if (this.#jobs.get(job.name) !== job)
      throw new InvalidInputError(`Job ${job.name} is not among the jobs that testLockkeeper was given.`, {});
    if (job.handlerOf(step)) return;
    const names = [...job.plain.steps.keys()].join(', ');
    throw new InvalidInputError(`Job ${job.name} has no step ${step}; it has ${names}.`, {});
  }
}
