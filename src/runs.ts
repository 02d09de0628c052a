/** Runs: submitted, canceled, waited for. */

import type { Executor } from './database.ts';
import { InvalidInputError } from './errors.ts';
import type { Queue } from './queue/boss.ts';
import { type Submitted, submitTicketed } from './queue/tickets.ts';
import type { Submission } from './schema.ts';

export type { Submitted } from './queue/tickets.ts';

export type RunState = 'queued' | 'admitted' | 'running' | 'succeeded' | 'failed' | 'canceled';

/** What one statement takes; more are sent in several, of the same transaction. */
const submissionsPerCall = 1_000;

/**
 * Submits checked submissions and their tickets, in the executor's transaction, all or none; the answers are in their
 * order.
 * @throws {UnknownJobError | UnknownDeploymentError | InvalidInputError}
 */
export async function submitRuns(
  queue: Queue,
  execute: Executor,
  submissions: readonly Submission[],
): Promise<Submitted[]> {
  const submitted: Submitted[] = [];
  for (let i = 0; i < submissions.length; i += submissionsPerCall) {
    submitted.push(...(await submitTicketed(queue, execute, submissions.slice(i, i + submissionsPerCall))));
  }
  return submitted;
}

/** Cancels runs; answers the state that each is in now, `unknown` for one that does not exist. */
export async function cancelRuns(
  execute: Executor,
  runIds: readonly string[],
  force: boolean,
): Promise<Map<string, RunState | 'unknown'>> {
  const states = new Map<string, RunState | 'unknown'>();
  let left = [...runIds];
  while (left.length > 0) {
    const { rows } = await execute('select * from lockkeeper.cancel($1, $2)', [left, force]);
    left = [];
    for (const { run_id, state } of rows) {
      if (state === 'retry') left.push(String(run_id));
      else states.set(String(run_id), state as RunState | 'unknown');
    }
  }
  return states;
}

/** What a retry came to: the new run, or null and the state of one that cannot be tried again. */
export type Retried = { runId: string; newRunId: string | null; state: RunState | 'unknown' };

/** Makes new runs of failed or canceled ones, which run what had not succeeded; see the SQL function. */
export async function retryRuns(execute: Executor, runIds: readonly string[]): Promise<Retried[]> {
  const { rows } = await execute('select * from lockkeeper.retry($1)', [runIds]);
  return rows.map(({ run_id, new_run_id, state }) => ({
    runId: String(run_id),
    newRunId: new_run_id === null ? null : String(new_run_id),
    state: state as Retried['state'],
  }));
}

/** Gives queued runs another priority; answers the state that each is in. */
export async function setPriority(
  execute: Executor,
  runIds: readonly string[],
  priority: number,
): Promise<Map<string, RunState | 'unknown'>> {
  const { rows } = await execute('select * from lockkeeper.set_priority($1, $2)', [runIds, priority]);
  return new Map(rows.map(({ run_id, state }) => [String(run_id), state as RunState | 'unknown']));
}

/** The end of a run: its state, and the outputs of the steps that succeeded, or the errors of those that failed. */
export type RunResult = {
  runId: string;
  state: 'succeeded' | 'failed' | 'canceled';
  outputs: Record<string, unknown>;
  errors: Record<string, unknown>;
};

/** The results of those of the runs that have ended. */
export async function resultsOf(execute: Executor, runIds: readonly string[]): Promise<RunResult[]> {
  const { rows } = await execute(
    `select r.run_id, r.state,
       coalesce((select jsonb_object_agg(s.step, s.output) from lockkeeper.steps s
                 where s.run_id = r.run_id and s.state = 'succeeded'), '{}') as outputs,
       coalesce((select jsonb_object_agg(s.step, s.error) from lockkeeper.steps s
                 where s.run_id = r.run_id and s.state = 'failed'), '{}') as errors
     from lockkeeper.runs r where r.run_id = any ($1) and r.state in ('succeeded', 'failed', 'canceled') order by r.run_id`,
    [runIds],
  );
  return rows.map((row) => ({
    runId: String(row.run_id),
    state: row.state as RunResult['state'],
    outputs: row.outputs as Record<string, unknown>,
    errors: row.errors as Record<string, unknown>,
  }));
}

/** Waits for the ends of runs; however many wait, a look is one statement. */
export class Results {
  readonly #execute: Executor;
  readonly #waiting = new Map<
    string,
    { promise: Promise<RunResult>; resolve: (result: RunResult) => void }
  >();

  constructor(execute: Executor) {
    this.#execute = execute;
  }

  get waiting(): number {
    return this.#waiting.size;
  }

  /**
   * The result of a run, once a look finds that it has ended; rejects when `stopped` is aborted before.
   * @throws {InvalidInputError} when there is no such run.
   */
  async waitFor(runId: string, stopped: AbortSignal): Promise<RunResult> {
    const { rows } = await this.#execute('select from lockkeeper.runs where run_id = $1', [runId]);
    if (rows.length === 0)
      throw new InvalidInputError(`There is no run ${runId}.`, {
        hint: 'Give the run id that submit answered.',
      });
    const aborted = new Promise<never>((_, reject) => {
      if (stopped.aborted) reject(stopped.reason);
      stopped.addEventListener('abort', () => reject(stopped.reason), { once: true });
    });
    return Promise.race([this.of(runId), aborted]);
  }

  /** The result of a run that exists, once a look finds that it has ended. */
  of(runId: string): Promise<RunResult> {
    const known = this.#waiting.get(runId);
    if (known) return known.promise;
    const { promise, resolve } = Promise.withResolvers<RunResult>();
    this.#waiting.set(runId, { promise, resolve });
    return promise;
  }

  /** One look at all that is waited for. */
  async tick(): Promise<void> {
    if (this.#waiting.size === 0) return;
    for (const result of await resultsOf(this.#execute, [...this.#waiting.keys()])) {
      this.#waiting.get(result.runId)?.resolve(result);
      this.#waiting.delete(result.runId);
    }
  }
}
