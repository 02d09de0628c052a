/**
 * The coordinator's work: queued → admitted, and all that nobody else does. Every function is one pass that a test may
 * call by hand. A crash after any statement leaves nothing that the next pass of any coordinator does not find.
 */

import type { Database, Executor } from '../database.ts';
import type { Queue } from '../queue/boss.ts';
import { hasSubmissions, intake } from '../queue/intake.ts';
import { hasStrays, mirrorTickets, readStrays } from '../queue/tickets.ts';

/** What a pass would find to do. */
type Todo = {
  lane: boolean;
  admit: boolean;
  sleep: boolean;
  reap: boolean;
  sweep: boolean;
  tickets: boolean;
  submissions: boolean;
  strays: boolean;
};

/** What a pass did. */
export type Ticked = {
  admitted: string[];
  ended: number;
  readied: number;
  submitted: number;
  rejected: number;
  canceled: string[];
  remade: string[];
};

export type CoordinatorDatabase = Pick<Database, 'pool' | 'execute'>;

/** Most rounds of laning in one pass before it admits what it has. */
const laneRounds = 50;
const laneBatch = 1_000;
const admitBatch = 500;

/** The one statement of an idle pod. */
export async function readTodo(execute: Executor, queue: Queue): Promise<Todo> {
  const { rows } = await execute(
    `select t.*, ${hasSubmissions(queue)} as submissions, ${hasStrays(queue)} as strays from lockkeeper.todo() t`,
    [],
  );
  return rows[0] as Todo;
}

/** One whole pass, tickets included. */
export async function coordinate(database: CoordinatorDatabase, queue: Queue): Promise<Ticked> {
  const ticked = await pass(database, queue);
  if (ticked.tickets) await keepTickets(database, queue);
  return ticked;
}

/** Ends what timed out, reaps, takes submissions, lanes and admits. `tickets`: some are to be made or closed. */
export async function pass(
  database: CoordinatorDatabase,
  queue: Queue,
): Promise<Ticked & { tickets: boolean }> {
  const { execute } = database;
  const ticked: Ticked = {
    admitted: [],
    ended: 0,
    readied: 0,
    submitted: 0,
    rejected: 0,
    canceled: [],
    remade: [],
  };
  const todo = await readTodo(execute, queue);
  if (todo.sweep) await sweep(execute, ticked);
  if (todo.reap && (await reap(execute)) > 0) await sweep(execute, ticked);
  if (todo.strays) Object.assign(ticked, await readAllStrays(queue, database));
  if (todo.submissions) Object.assign(ticked, await takeSubmissions(queue, database));
  if (todo.lane || todo.submissions || todo.admit || ticked.ended > 0)
    ticked.admitted = await admitAll(execute);
  if (todo.sleep) await execute('select lockkeeper.sleep_unserved()', []);
  const tickets = todo.tickets || ticked.admitted.length > 0 || ticked.canceled.length > 0;
  return { ...ticked, tickets };
}

/** Makes and closes tickets until none is left. Apart from admission, which it must not hold up. */
export async function keepTickets(database: CoordinatorDatabase, queue: Queue): Promise<void> {
  while ((await mirrorTickets(queue, database)).more);
}

async function sweep(execute: Executor, ticked: Ticked): Promise<void> {
  for (;;) {
    const { rows } = await execute('select * from lockkeeper.sweep(200)', []);
    const [{ ended, readied, more }] = rows as [{ ended: number; readied: number; more: boolean }];
    ticked.ended += ended;
    ticked.readied += readied;
    if (!more) return;
  }
}

async function reap(execute: Executor): Promise<number> {
  let reaped = 0;
  for (;;) {
    const { rows } = await execute('select lockkeeper.reap() as reaped', []);
    const found = Number(rows[0]?.reaped);
    reaped += found;
    if (found === 0) return reaped;
  }
}

/** Lanes and admits until there is nothing more to admit; answers the runs in the order of their admission. */
export async function admitAll(execute: Executor): Promise<string[]> {
  for (let round = 0; round < laneRounds; round += 1) {
    const { rows } = await execute('select * from lockkeeper.lane($1)', [laneBatch]);
    if (rows[0]?.more !== true) break;
  }
  const admitted: string[] = [];
  for (;;) {
    const { rows } = await execute('select * from lockkeeper.admit($1)', [admitBatch]);
    const [{ run_ids, more }] = rows as [{ run_ids: string[]; more: boolean }];
    admitted.push(...run_ids);
    if (!more) return admitted;
  }
}

async function takeSubmissions(queue: Queue, database: CoordinatorDatabase) {
  const total = { submitted: 0, rejected: 0 };
  for (;;) {
    const { submitted, rejected, more } = await intake(queue, database);
    total.submitted += submitted;
    total.rejected += rejected;
    if (!more) return total;
  }
}

async function readAllStrays(queue: Queue, database: CoordinatorDatabase) {
  const total = { canceled: [] as string[], remade: [] as string[] };
  for (;;) {
    const { canceled, remade, more } = await readStrays(queue, database);
    total.canceled.push(...canceled);
    total.remade.push(...remade);
    if (!more) return total;
  }
}
