/**
 * The coordinator's work: queued → admitted, and all that nobody else does. Every function is one pass that a test may
 * call by hand. A crash after any statement leaves nothing that the next pass of any coordinator does not find.
 */

import { type Database, type Executor, untilDone } from '../database.ts';
import type { Queue } from '../queue/boss.ts';
import { intake } from '../queue/intake.ts';
import { mirrorTickets, readStrays } from '../queue/tickets.ts';

/** What a pass would find to do. */
type Todo = {
  lane: boolean;
  admit: boolean;
  sleep: boolean;
  reap: boolean;
  sweep: boolean;
  expire: boolean;
  overrides: boolean;
  tickets: boolean;
  /** One of the leases should claim. */
  claim: boolean;
  /** It is nobody's turn to keep. */
  keep: boolean;
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
  /** Why submissions or strays could not be read to their end; the rest of the pass was made all the same. */
  failures: Error[];
};

export type CoordinatorDatabase = Pick<Database, 'pool' | 'execute' | 'schema'>;

/** Most rounds of laning in one pass before it admits what it has. */
const laneRounds = 50;
const laneBatch = 1_000;
/** Most rounds of submissions (100 each) and of strays (500 each) in one pass: admission must not wait for all of them. */
const queueRounds = 10;
const admitBatch = 500;
/** Most calls of admission after each batch that was laned again: where steps end all the time, laning must go on too. */
const admitRounds = 8;
/** Most calls of admission in one pass: between passes a coordinator stops, and looks for what else there is. */
const passRounds = 40;

/**
 * The one statement of an idle pod: also looks for the workers that have these leases. Without a queue it does not look
 * at what others did in pg-boss.
 */
export async function readTodo(
  execute: Executor,
  queue?: Queue,
  leases: readonly string[] = [],
): Promise<Todo> {
  const { rows } = await execute('select * from lockkeeper.todo($1, $2)', [leases, queue?.schema]);
  return rows[0] as Todo;
}

/** One whole pass, tickets included. Throws when a part of it failed, after all the others. */
export async function coordinate(database: CoordinatorDatabase, queue: Queue): Promise<Ticked> {
  const ticked = await pass(database, queue);
  if (ticked.tickets) await keepTickets(database, queue);
  for (const failure of ticked.failures) throw failure;
  return ticked;
}

/** What a pass did, and what it leaves to other loops. */
export type Passed = Ticked & {
  /** Tickets are to be made or closed. */
  tickets: boolean;
  /** There is more to be laned or admitted. */
  more: boolean;
  /** When it looked, one of the leases had something to claim. */
  claim: boolean;
  /** When it looked, it was nobody's turn to keep. */
  keep: boolean;
};

/**
 * Ends what timed out, reaps, takes submissions, lanes and admits. `outside`: whether it looks at what others did in
 * pg-boss. `leases`: of the workers for which it looks, too.
 */
export async function pass(
  database: CoordinatorDatabase,
  queue: Queue,
  { outside = true, leases = [] }: { outside?: boolean; leases?: readonly string[] } = {},
): Promise<Passed> {
  const { execute } = database;
  const ticked: Ticked = {
    admitted: [],
    ended: 0,
    readied: 0,
    submitted: 0,
    rejected: 0,
    canceled: [],
    remade: [],
    failures: [],
  };
  let more = false;
  const todo = await readTodo(execute, outside ? queue : undefined, leases);
  if (todo.overrides) await execute('select lockkeeper.end_overrides()', []);
  if (todo.expire) await expire(execute, ticked);
  if (todo.sweep) await sweep(execute, ticked);
  if (todo.reap && (await reap(execute)) > 0) await sweep(execute, ticked);
  if (todo.strays) await attempt(ticked, () => readAllStrays(queue, database));
  if (todo.submissions) await attempt(ticked, () => takeSubmissions(queue, database));
  if (todo.lane || todo.submissions || todo.admit || todo.overrides || ticked.ended + ticked.readied > 0)
    ({ admitted: ticked.admitted, more } = await admitAll(execute));
  if (todo.sleep) await execute('select lockkeeper.sleep_unserved()', []);
  const tickets = todo.tickets || ticked.admitted.length > 0 || ticked.canceled.length > 0;
  return { ...ticked, tickets, more, claim: todo.claim, keep: todo.keep };
}

/** What others did in pg-boss must not keep admission from its work. */
async function attempt(ticked: Ticked, work: () => Promise<Partial<Ticked>>): Promise<void> {
  try {
    Object.assign(ticked, await work());
  } catch (error) {
    ticked.failures.push(error as Error);
  }
}

/** Makes and closes tickets until none is left. Apart from admission, which it must not hold up. */
export async function keepTickets(database: CoordinatorDatabase, queue: Queue): Promise<void> {
  while ((await mirrorTickets(queue, database)).more);
}

async function sweep(execute: Executor, ticked: Ticked): Promise<void> {
  type Swept = { ended: number; readied: number; more: boolean };
  for (const { ended, readied } of await untilDone<Swept>(execute, 'select * from lockkeeper.sweep(200)')) {
    ticked.ended += ended;
    ticked.readied += readied;
  }
}

async function expire(execute: Executor, ticked: Ticked): Promise<void> {
  type Expired = { ended: number; more: boolean };
  for (const { ended } of await untilDone<Expired>(execute, 'select * from lockkeeper.expire(200)'))
    ticked.ended += ended;
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

/** Moves ended runs to the history, drops what is too old there, and ends idle branches; what else grows is collected. */
export async function tidy(execute: Executor): Promise<void> {
  await untilDone(execute, 'select * from lockkeeper.archive(1000)');
  await untilDone(execute, 'select * from lockkeeper.drop_history()');
  await execute('select lockkeeper.end_branches()', []);
  await execute('select lockkeeper.collect_keys()', []);
}

/**
 * Lanes and admits; answers the runs in the order of their admission. `more`: it is not through with what is to be laned
 * or admitted; `busy`: another was at it, and may not have seen what is new. While what waits is laned again, perhaps a million runs, it admits after each batch.
 */
export async function admitAll(
  execute: Executor,
): Promise<{ admitted: string[]; more: boolean; busy: boolean }> {
  const admitted: string[] = [];
  let more = true;
  let busy = false;
  for (let round = 0; more && round < laneRounds; round += 1) {
    const { rows } = await execute('select * from lockkeeper.lane($1)', [laneBatch]);
    const [lane] = rows as [{ more: boolean; again: boolean; busy: boolean }];
    more = lane.more;
    busy ||= lane.busy;
    if (lane.again) await admit(admitRounds);
  }
  const rest = await admit(more ? admitRounds : passRounds);
  return { admitted, more: more || rest, busy };

  async function admit(rounds: number): Promise<boolean> {
    type Admitted = { run_ids: string[]; more: boolean; busy: boolean };
    const statement = 'select * from lockkeeper.admit($1)';
    let rest = false;
    for (const answer of await untilDone<Admitted>(execute, statement, [admitBatch], rounds)) {
      admitted.push(...answer.run_ids);
      busy ||= answer.busy;
      rest = answer.more;
    }
    return rest;
  }
}

async function takeSubmissions(queue: Queue, database: CoordinatorDatabase) {
  const total = { submitted: 0, rejected: 0 };
  for (let round = 0; round < queueRounds; round += 1) {
    const { submitted, rejected, more } = await intake(queue, database);
    total.submitted += submitted;
    total.rejected += rejected;
    if (!more) break;
  }
  return total;
}

async function readAllStrays(queue: Queue, database: CoordinatorDatabase) {
  const total = { canceled: [] as string[], remade: [] as string[] };
  for (let round = 0; round < queueRounds; round += 1) {
    const { canceled, remade, more } = await readStrays(queue, database);
    total.canceled.push(...canceled);
    total.remade.push(...remade);
    if (!more) break;
  }
  return total;
}
