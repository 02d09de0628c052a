/** How many exchanges with Postgres this process has had through pg, and how many of them ended a transaction. */

import { EventEmitter } from 'node:events';
import pg from 'pg';

/** Counted from the import of this file on. */
export type Exchanges = {
  /** Statements that were answered; several in one text are one. Each is at most one round trip. */
  statements: number;
  /** After so many of them no transaction was open: each ended one, its own or a block. */
  transactions: number;
};

const had: Exchanges = { statements: 0, transactions: 0 };
const counted = new WeakSet<pg.Client>();
const { query } = pg.Client.prototype;

// Pools, Kysely, pg-boss, DBOS and graphile-worker all come through this one method.
pg.Client.prototype.query = function counting(this: pg.Client, ...given: unknown[]) {
  count(this);
  return Reflect.apply(query, this, given);
};

/** Listens to what the server says when it is ready for the next statement: whether a transaction is open. */
function count(client: pg.Client): void {
  if (counted.has(client)) return;
  const connection: unknown = Reflect.get(client, 'connection');
  if (!(connection instanceof EventEmitter))
    throw new Error('This version of pg has no connection to listen to.');
  connection.on('readyForQuery', ({ status }: { status: string }) => {
    had.statements += 1;
    if (status === 'I') had.transactions += 1;
  });
  counted.add(client);
}

/** What it was so far. */
export const exchanges = (): Exchanges => ({ ...had });
