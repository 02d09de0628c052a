/**
 * The intake: submissions that any pg-boss client sent to `lockkeeper.submit` become runs. Fetch, check, submit and
 * complete are one transaction, so a crash or an error leaves the submissions as they were, none is made into two
 * runs, and none is left behind. A submission that is refused, by zod or by the database, goes to
 * `lockkeeper.rejected` with the error and the field, and the others go on.
 *
 * What is no submission's fault (connection, deadlock, timeout, missing schema) fails the tick as a whole; the next
 * one begins anew.
 */

import { type Database, type Executor, executor, pgBossDb, transaction } from '../database.ts';
import {
  ConflictError,
  InvalidInputError,
  LockkeeperError,
  UnknownDeploymentError,
  UnknownJobError,
} from '../errors.ts';
import { ProblemsError, parseSubmission, type Submission } from '../schema.ts';
import { type Queue, rejectedQueue, submitQueue } from './boss.ts';
import { submitTicketed } from './tickets.ts';

/** The data of a pg-boss job in `lockkeeper.rejected`. */
export type Rejection = {
  /** The data as it was sent. */
  submission: unknown;
  /** What is wrong and what to do. */
  error: string;
  /** The first field that is wrong; null when the error is of no single field. */
  field: string | null;
  /** The id of the pg-boss job in `lockkeeper.submit`, and when it was sent. */
  submitted_id: string;
  submitted_at: Date;
};

type Sent = { id: string; data: unknown; createdOn: Date };
type Checked = { sent: Sent; submission: Submission };

/** One tick: takes up to `n` submissions that are due. When none is, it costs one probe of an index. */
export async function intake(
  queue: Queue,
  database: Pick<Database, 'pool' | 'execute'>,
  n = 100,
): Promise<{ submitted: number; rejected: number; more: boolean }> {
  const { rows } = await database.execute(`select ${hasSubmissions(queue)} as due`, []);
  if (rows[0]?.due !== true) return { submitted: 0, rejected: 0, more: false };
  return transaction(database, async (query) => {
    const execute = executor(query);
    const db = pgBossDb(execute);
    const batch: Sent[] = await queue.boss.fetch(submitQueue, { batchSize: n, includeMetadata: true, db });
    const { checked, rejections } = check(batch);
    rejections.push(...(await submitAll(queue, execute, checked)));
    if (rejections.length > 0) {
      await queue.boss.insert(
        rejectedQueue,
        rejections.map((data) => ({ data })),
        { db },
      );
    }
    const ids = batch.map(({ id }) => id);
    // Completed, not deleted: pg-boss's throttling counts what was sent before.
    if (ids.length > 0) await queue.boss.complete(submitQueue, ids, null, { db });
    const rejected = rejections.length;
    return { submitted: batch.length - rejected, rejected, more: batch.length >= n };
  });
}

/** An SQL condition for the coordinator's one statement: whether a submission is due. Uses pg-boss's index …_i14. */
export function hasSubmissions({ schema }: Queue): string {
  return `exists (select from ${schema}.job where name = '${submitQueue}' and state in ('created', 'retry')
    and not blocked and start_after <= ${schema}.job_now())`;
}

function check(batch: Sent[]): { checked: Checked[]; rejections: Rejection[] } {
  const checked: Checked[] = [];
  const rejections: Rejection[] = [];
  for (const sent of batch) {
    try {
      checked.push({ sent, submission: parseSubmission(sent.data) });
    } catch (error) {
      rejections.push(rejection(sent, error));
    }
  }
  return { checked, rejections };
}

/** All at once; if that fails, each half by itself, and so on. Answers those that fail alone. */
async function submitAll(queue: Queue, execute: Executor, items: Checked[]): Promise<Rejection[]> {
  const [first] = items;
  if (!first) return [];
  const refusal = await trySubmit(queue, execute, items);
  if (refusal === undefined) return [];
  if (items.length === 1) return [rejection(first.sent, refusal)];
  const half = Math.ceil(items.length / 2);
  const rejections = await submitAll(queue, execute, items.slice(0, half));
  return rejections.concat(await submitAll(queue, execute, items.slice(half)));
}

/** Answers the error when it is the submissions' own fault; then nothing of them is left in the transaction. */
async function trySubmit(queue: Queue, execute: Executor, items: Checked[]): Promise<unknown> {
  const submissions = items.map(({ submission }) => submission);
  let refusal: unknown;
  await execute('savepoint submission', []);
  try {
    await submitTicketed(queue, execute, submissions);
  } catch (error) {
    if (!isTheirOwnFault(error)) throw error;
    await execute('rollback to savepoint submission', []);
    refusal = error;
  }
  await execute('release savepoint submission', []);
  return refusal;
}

/** Of Postgres's errors: data (22), constraints (23), limits of a program such as nesting (54), raised ones (P0). */
function isTheirOwnFault(error: unknown): boolean {
  if (error instanceof LockkeeperError) {
    return [InvalidInputError, UnknownJobError, UnknownDeploymentError, ConflictError].some(
      (refusal) => error instanceof refusal,
    );
  }
  const { code } = error as { code?: unknown };
  return typeof code === 'string' && /^(22|23|54|P0)...$/.test(code);
}

function rejection({ id, data, createdOn }: Sent, error: unknown): Rejection {
  const { message, hint } = error as { message: string; hint?: string };
  return {
    submission: data,
    error: hint ? `${message.replace(/\.?$/, '.')} ${hint}` : message,
    field: fieldOf(error),
    submitted_id: id,
    submitted_at: createdOn,
  };
}

/** Errors of zod name the field; those of the functions give it as the diagnostic field `column`. */
function fieldOf(error: unknown): string | null {
  if (error instanceof ProblemsError) return error.problems[0]?.field ?? null;
  if (error instanceof UnknownJobError) return 'job';
  if (error instanceof UnknownDeploymentError) return 'deployment';
  const { cause = error } = error as { cause?: unknown };
  const { column } = cause as { column?: unknown };
  return typeof column === 'string' ? column : null;
}
