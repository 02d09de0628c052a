/**
 * Tickets: for each queued run one pg-boss job, its mirror. The run row is the truth, so every tick here may fail at
 * any point and be made again: making a ticket that is there and deleting one that is not do nothing.
 */

import { type Database, type Executor, pgBossDb, transaction } from '../database.ts';
import type { Submission } from '../schema.ts';
import type { Queue } from './boss.ts';

/** What pg-boss's users see of a queued run. */
export type Ticket = {
  runId: string;
  job: string;
  deployment: string;
  tags: Readonly<Record<string, string>>;
  priority: number;
  /** pg-boss shows the ticket as deferred until then. */
  startAt?: Date | string | null | undefined;
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
  const jobs = tickets.map(({ runId, job, deployment, tags, priority, startAt }) => ({
    id: ticketId(runId),
    priority,
    data: { run_id: runId, job, deployment, tags },
    ...(startAt == null ? {} : { startAfter: deferredTo(startAt) }),
  }));
  await queue.boss.insert(queue.names.tickets, jobs, { db: pgBossDb(execute) });
}

/** As pg-boss can read it: it takes no year before 1 or after 9999. */
function deferredTo(startAt: Date | string): Date {
  return new Date(Math.min(Math.max(new Date(startAt).getTime(), 0), Date.UTC(9999, 11, 31)));
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

function ticketOf(runId: string, submission: Submission): Ticket {
  const { job, branch, deployment, tags, priority, start_at: startAt } = submission;
  return {
    runId,
    job,
    deployment: branch ?? deployment ?? 'default',
    tags: tags ?? {},
    priority: priority ?? 0,
    startAt,
  };
}

/**
 * One tick: makes, makes anew and deletes up to `n` tickets, as `submit`, `set_priority`, `admit` and `cancel` have
 * noted in the database. The notes are taken and followed in one transaction. Several processes share the work.
 */
export async function mirrorTickets(
  queue: Queue,
  database: Pick<Database, 'pool' | 'schema'>,
  n = 1_000,
): Promise<{ made: number; closed: number; more: boolean }> {
  return transaction(database, async (query) => {
    const { rows } = await query('select * from lockkeeper.take_ticket_changes($1)', [n]);
    const [make = [], remake = [], close = []] = ['make', 'remake', 'close'].map((change) =>
      rows.filter((row) => row.change === change),
    );
    const again = await notCanceled(queue, query, remake);
    await deleteTickets(queue, query, [...again, ...close].map(idOfRow));
    await insertTickets(queue, query, [...make, ...again].map(ticketOfRow));
    return { made: make.length + again.length, closed: close.length, more: rows.length >= n };
  });
}

const idOfRow = ({ run_id }: Record<string, unknown>) => ticketId(String(run_id));

/** Without those whose tickets were canceled in pg-boss, which `readStrays` must still see. */
async function notCanceled(
  { schema, names }: Queue,
  execute: Executor,
  changes: Record<string, unknown>[],
): Promise<Record<string, unknown>[]> {
  if (changes.length === 0) return [];
  const { rows } = await execute(
    `select id from ${schema}.job where name = $1 and id = any ($2) and state = 'cancelled'`,
    [names.tickets, changes.map(idOfRow)],
  );
  const canceled = new Set(rows.map(({ id }) => String(id)));
  return changes.filter((change) => !canceled.has(idOfRow(change)));
}

function ticketOfRow(row: Record<string, unknown>): Ticket {
  return {
    runId: String(row.run_id),
    job: String(row.job),
    deployment: String(row.deployment),
    tags: row.tags as Record<string, string>,
    priority: Number(row.priority),
    startAt: row.start_at as Ticket['startAt'],
  };
}

/** Deletes by id in one statement, in whatever state they are. */
async function deleteTickets(queue: Queue, execute: Executor, ids: string[]): Promise<void> {
  if (ids.length > 0) await queue.boss.deleteJob(queue.names.tickets, ids, { db: pgBossDb(execute) });
}

/**
 * One tick: what others did to tickets. One that was canceled in pg-boss cancels its run, if that is still queued;
 * one that was fetched, completed or failed is made again (worth a warning: somebody works on this queue). Both are
 * found by pg-boss's own indexes, so that where there is none a million tickets cost three index probes. A crash
 * between cancel and delete only cancels again.
 */
export async function readStrays(
  queue: Queue,
  database: Pick<Database, 'pool' | 'execute' | 'schema'>,
  n = 500,
): Promise<{ canceled: string[]; remade: string[]; more: boolean }> {
  const { rows } = await database.execute(selectStrays(queue), [n]);
  const strays = rows.map(({ id, state }) => ({ id: String(id), state, runId: runIdOf(String(id)) }));
  const runsOf = (canceled: boolean) =>
    strays.flatMap(({ runId, state }) => (runId && (state === 'cancelled') === canceled ? [runId] : []));
  const { canceled, again } = await cancelQueued(database.execute, runsOf(true));
  const remade = runsOf(false);
  // The ticket of a run that was too much for one call stays, and is found again.
  const done = strays.filter(({ runId }) => !again.includes(runId ?? '')).map(({ id }) => id);
  if (done.length > 0) {
    await transaction(database, async (query) => {
      await deleteTickets(queue, query, done);
      if (remade.length > 0) await query('select lockkeeper.remake_tickets($1)', [remade]);
    });
  }
  return { canceled, remade, more: rows.length >= n || again.length > 0 };
}

async function cancelQueued(
  execute: Executor,
  runIds: string[],
): Promise<{ canceled: string[]; again: string[] }> {
  if (runIds.length === 0) return { canceled: [], again: [] };
  const { rows } = await execute('select run_id, state from lockkeeper.cancel_queued($1)', [runIds]);
  const idsIn = (wanted: string) =>
    rows.filter(({ state }) => state === wanted).map(({ run_id }) => String(run_id));
  return { canceled: idsIn('canceled'), again: idsIn('retry') };
}

/**
 * As `todo` looks for them. pg-boss's index …_i16 holds what has ended, canceled ones too; its index …_i14 holds the
 * other states. In the order of the index: without it, what Postgres last knew of the table may make it read all of it.
 */
function selectStrays({ schema, names }: Queue): string {
  const tickets = `from ${schema}.job where name = '${names.tickets}'`;
  const inWork = (state: string) => `${tickets} and state = '${state}' order by blocked, start_after`;
  const ended = `${tickets} and completed_on is not null order by completed_on`;
  return [ended, inWork('retry'), inWork('active')]
    .map((kind) => `(select id, state ${kind} limit $1)`)
    .join(' union all ');
}

/** What a slice of the audit found. */
export type Audited = {
  /** Queued runs that had no ticket. */
  missing: string[];
  /** Runs that are not queued and still had one. */
  orphans: string[];
  /** The id up to which all is compared; undefined: to the end. */
  upto: string | undefined;
};

/**
 * Compares the next `n` runs after this id with the next `n` tickets. Both are read in one statement, so that what is
 * being submitted, admitted or mirrored at this moment is seen whole or not at all.
 */
export async function compareTickets(
  queue: Queue,
  { execute }: Pick<Database, 'execute'>,
  after: string,
  n: number,
): Promise<Audited> {
  const { rows } = await execute(selectAudit(queue), [after, n, ticketId(after)]);
  const [found] = rows as [{ upto: string | null; missing: string[]; orphans: string[] }];
  const { upto, missing, orphans } = found;
  return { missing, orphans, upto: upto ?? undefined };
}

/**
 * The same, and mends what differs: what is missing is noted, and made with the next `mirrorTickets`, and orphans are
 * deleted. Several at a time do no harm.
 */
export async function auditTickets(
  queue: Queue,
  database: Pick<Database, 'execute'>,
  after: string,
  n: number,
): Promise<Audited> {
  const { execute } = database;
  const audited = await compareTickets(queue, database, after, n);
  const { missing, orphans } = audited;
  if (missing.length > 0) await execute('select lockkeeper.remake_tickets($1)', [missing]);
  await deleteTickets(queue, execute, orphans.map(ticketId));
  return audited;
}

/** The ids of a partition's primary key are in the order of the runs. */
function selectAudit({ schema, names }: Queue): string {
  return `select a.* from lockkeeper.audit_tickets($1, $2::int, array(
    select ('x' || right(id::text, 12))::bit(48)::bigint from ${schema}.job
    where name = '${names.tickets}' and id > $3 and id <= '${ticketPrefix}ffffffffffff'
    order by id limit $2::int)) a`;
}
