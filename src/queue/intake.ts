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
import type { Queue } from './boss.ts';
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

/** One tick: takes up to `n` submissions that are due. Whether any is, `todo` tells at less cost. */
export async function intake(
  queue: Queue,
  database: Pick<Database, 'pool' | 'schema'>,
  n = 100,
): Promise<{ submitted: number; rejected: number; more: boolean }> {
  return transaction(database, async (query) => {
    const execute = executor(query);
    const db = pgBossDb(execute);
    const { submit } = queue.names;
    // A caller may sit on a submission with the same key; admission, which comes after us, must not wait for him.
    await execute("set local lock_timeout = '1s'", []);
    const fetched: Sent[] = await queue.boss.fetch(submit, { batchSize: n, includeMetadata: true, db });
    const batch = await inOrder(queue, execute, fetched);
    const { checked, rejections } = check(batch);
    rejections.push(...(await submitAll(queue, execute, checked)));
    await keepRejections(queue, execute, rejections);
    const ids = batch.map(({ id }) => id);
    // Completed, not deleted: pg-boss's throttling counts what was sent before.
    if (ids.length > 0) await queue.boss.complete(submit, ids, null, { db });
    const rejected = rejections.length;
    return { submitted: batch.length - rejected, rejected, more: batch.length >= n };
  });
}

/** As they were sent: what a fetch returns is in no order. */
async function inOrder({ schema, names }: Queue, execute: Executor, fetched: Sent[]): Promise<Sent[]> {
  if (fetched.length < 2) return fetched;
  const { rows } = await execute(
    `select id from ${schema}.job where name = $1 and id = any ($2) order by priority desc, created_on, id`,
    [names.submit, fetched.map(({ id }) => id)],
  );
  const byId = new Map(fetched.map((sent) => [sent.id, sent]));
  return rows.flatMap(({ id }) => byId.get(String(id)) ?? []);
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
function trySubmit(queue: Queue, execute: Executor, items: Checked[]): Promise<unknown> {
  const submissions = items.map(({ submission }) => submission);
  return faultOf(execute, () => submitTicketed(queue, execute, submissions));
}

/** All at once; if that fails, each by itself; what fails even so is kept without its data. */
async function keepRejections(queue: Queue, execute: Executor, rejections: Rejection[]): Promise<void> {
  if (rejections.length === 0) return;
  const { rejected, submit } = queue.names;
  const insert = (some: Rejection[]) =>
    queue.boss.insert(
      rejected,
      some.map((data) => ({ data })),
      { db: pgBossDb(execute) },
    );
  if ((await faultOf(execute, () => insert(rejections))) === undefined) return;
  for (const each of rejections) {
    const fault = await faultOf(execute, () => insert([each]));
    if (fault === undefined) continue;
    const why = `It cannot be repeated here (${(fault as Error).message}); pg-boss has it as job ${each.submitted_id} of ${submit}.`;
    await insert([{ ...each, submission: null, error: `${each.error} ${why}` }]);
  }
}

/** Answers the error of `work` when what it was given is at fault, and then all is as it was before. */
async function faultOf(execute: Executor, work: () => Promise<unknown>): Promise<unknown> {
  let fault: unknown;
  await execute('savepoint submission', []);
  try {
    await work();
  } catch (error) {
    if (!isTheirOwnFault(error)) throw error;
    await execute('rollback to savepoint submission', []);
    fault = error;
  }
  await execute('release savepoint submission', []);
  return fault;
}

/**
 * Nested too deep for JSON (a RangeError); of Postgres's errors: data (22), constraints (23), limits of a program such
 * as nesting (54), raised ones (P0).
 */
function isTheirOwnFault(error: unknown): boolean {
  if (error instanceof LockkeeperError) {
    return [InvalidInputError, UnknownJobError, UnknownDeploymentError, ConflictError].some(
      (refusal) => error instanceof refusal,
    );
  }
  if (error instanceof RangeError) return true;
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
