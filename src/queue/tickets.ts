/**
 * Tickets: for each queued run one pg-boss job, its mirror. The run row is the truth, so every tick here may fail at
 * any point and be made again: making a ticket that is there and deleting one that is not do nothing.
 */

import { type Database, type Executor, pgBossDb, transaction } from '../database.ts';
import type { Submission } from '../schema.ts';
import { type Queue, ticketQueue } from './boss.ts';

/** What pg-boss's users see of a queued run. */
export type Ticket = {
  runId: string;
  job: string;
  deployment: string;
  tags: Readonly<Record<string, string>>;
  priority: number;
};

export type Submitted = {
  runId: string;
  /** False: a run with the same key was there before. */
  created: boolean;
};

const ticketPrefix = '00000000-0000-8000-8000-';

/** The id of a run's ticket: a uuid of version 8 that ends in the run's id as 12 hex digits. */
export function ticketId(runId: string): string {
  return ticketPrefix + BigInt(runId).toString(16).padStart(12, '0');
}

/** The run of a ticket; undefined when the id is no ticket's. */
export function runIdOf(id: string): string | undefined {
  return id.startsWith(ticketPrefix) ? BigInt(`0x${id.slice(ticketPrefix.length)}`).toString() : undefined;
}

/** Inserts any number of tickets in one statement of the executor's transaction; about 20 µs each. */
export async function insertTickets(
  queue: Queue,
  execute: Executor,
  tickets: readonly Ticket[],
): Promise<void> {
  if (tickets.length === 0) return;
  const jobs = tickets.map(({ runId, job, deployment, tags, priority }) => ({
    id: ticketId(runId),
    priority,
    data: { run_id: runId, job, deployment, tags },
  }));
  await queue.boss.insert(ticketQueue, jobs, { db: pgBossDb(execute) });
}

/**
 * Submits checked submissions and inserts the tickets of the new runs: two statements of the executor's transaction,
 * whose caller commits. The answers are in the order of the submissions. Throws the first error, and then the
 * transaction is to be rolled back.
 */
export async function submitTicketed(
  queue: Queue,
  execute: Executor,
  submissions: readonly Submission[],
): Promise<Submitted[]> {
  if (submissions.length === 0) return [];
  const { rows } = await execute('select run_id, created from lockkeeper.submit($1, true) order by ordinal', [
    JSON.stringify(submissions),
  ]);
  const submitted = rows.map((row) => ({ runId: String(row.run_id), created: row.created === true }));
  const tickets = submissions.flatMap((submission, index) => {
    const answer = submitted[index];
    return answer?.created ? [ticketOf(answer.runId, submission)] : [];
  });
  await insertTickets(queue, execute, tickets);
  return submitted;
}

function ticketOf(runId: string, { job, deployment, tags, priority }: Submission): Ticket {
  return { runId, job, deployment: deployment ?? 'default', tags: tags ?? {}, priority: priority ?? 0 };
}

/**
 * One tick: makes and deletes up to `n` tickets, as `submit`, `admit` and `cancel` have noted in the database. The
 * notes are taken and followed in one transaction. Several processes at a time share the work.
 */
export async function mirrorTickets(
  queue: Queue,
  database: Pick<Database, 'pool'>,
  n = 1_000,
): Promise<{ made: number; closed: number; more: boolean }> {
  return transaction(database, async (query) => {
    const { rows } = await query('select * from lockkeeper.take_ticket_changes($1)', [n]);
    const make = rows.filter((row) => row.change === 'make').map(ticketOfRow);
    const close = rows.filter((row) => row.change === 'close').map((row) => ticketId(String(row.run_id)));
    await insertTickets(queue, query, make);
    await deleteTickets(queue, query, close);
    return { made: make.length, closed: close.length, more: rows.length >= n };
  });
}

function ticketOfRow(row: Record<string, unknown>): Ticket {
  return {
    runId: String(row.run_id),
    job: String(row.job),
    deployment: String(row.deployment),
    tags: row.tags as Record<string, string>,
    priority: Number(row.priority),
  };
}

/** Deletes by id in one statement, in whatever state they are. */
async function deleteTickets(queue: Queue, execute: Executor, ids: string[]): Promise<void> {
  if (ids.length > 0) await queue.boss.deleteJob(ticketQueue, ids, { db: pgBossDb(execute) });
}

/**
 * One tick: what others did to tickets. One that was canceled in pg-boss cancels its run, if that is still queued;
 * one that was fetched, completed or failed is made again (worth a warning: somebody works on this queue). Both are
 * found by pg-boss's own indexes, so that where there is none a million tickets cost two index probes. A crash between
 * cancel and delete only cancels again.
 */
export async function readStrays(
  queue: Queue,
  database: Pick<Database, 'pool' | 'execute'>,
  n = 500,
): Promise<{ canceled: string[]; remade: string[]; more: boolean }> {
  const { rows } = await database.execute(selectStrays(queue), [n]);
  const canceled: string[] = [];
  const remade: string[] = [];
  for (const { id, state } of rows) {
    const runId = runIdOf(String(id));
    if (runId !== undefined) (state === 'cancelled' ? canceled : remade).push(runId);
  }
  if (canceled.length > 0) await database.execute('select lockkeeper.cancel_queued($1)', [canceled]);
  const ids = rows.map((row) => String(row.id));
  if (ids.length > 0) {
    await transaction(database, async (query) => {
      await deleteTickets(queue, query, ids);
      if (remade.length > 0) await query('select lockkeeper.remake_tickets($1)', [remade]);
    });
  }
  return { canceled, remade, more: rows.length >= n };
}

/** An SQL condition for the coordinator's one statement: whether `readStrays` has something to do. */
export function hasStrays(queue: Queue): string {
  return `(exists (select ${ended(queue)}) or exists (select ${inWork(queue)}))`;
}

function selectStrays(queue: Queue): string {
  return `(select id, state ${ended(queue)} order by completed_on limit $1)
    union all (select id, state ${inWork(queue)} limit $1)`;
}

// pg-boss's index …_i16 holds what has ended, canceled ones too; its index …_i14 holds the other states.
const ended = ({ schema }: Queue) =>
  `from ${schema}.job where name = '${ticketQueue}' and completed_on is not null`;
const inWork = ({ schema }: Queue) =>
  `from ${schema}.job where name = '${ticketQueue}' and state in ('retry', 'active')`;
