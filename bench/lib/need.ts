/** What one process needs for so much work, and when it has none. */

import { setTimeout as wait } from 'node:timers/promises';
import type { Context, Limit, System } from '../types.ts';
import { itemsFrom } from './flow.ts';
import { nowNs } from './marks.ts';
import { inPlace } from './measure.ts';
import type { Need } from './messages.ts';
import { type Pods, withPods } from './processes.ts';
import { roomOf, settled } from './rates.ts';
import { withClient } from './server.ts';

export type Session = {
  system: System;
  limit: Limit;
  /** Pieces that it works off, after the warm-up. */
  count: number;
  /** Sends them. */
  send(pods: Pods): Promise<unknown>;
};

export type Used = {
  /** For each piece. */
  transactions: number;
  statements: number;
  walBytes: number;
  /** With nothing to do, for each second. */
  idleStatements: number;
  /** After that. */
  memoryBytes: number;
};

/** Pieces that a process has worked off before anything counts. */
export const warmUp = 200;
const tenants = 100;
/** After the last handler: by then everything that follows an end is done. */
const restMs = 500;
const idleMs = { quick: 2_000, full: 5_000 };

/** Items of a session, after those of its warm-up; `from` counts on from there. */
export const itemsOf = (from: number, count: number) => itemsFrom(warmUp + from, count, tenants);

/**
 * Has one process in a new database do the work, and then nothing for some seconds. Throws when a piece of ours, or its
 * ticket, is left.
 */
export async function usedBy(context: Context, session: Session): Promise<Used> {
  const { system, limit, count } = session;
  const work = { limit, handlerMs: 0 };
  return inPlace(context, system, async ({ url, folder }) => {
    await system.prepare(url, work);
    const options = { system: system.name, url, work, processes: 1, room: roomOf(system), folder };
    return withPods(options, async (pods) => {
      // A page that is written for the first time after a checkpoint is logged whole: that is left to the warm-up.
      await withClient(context.server.url, (client) => client.query('checkpoint'));
      const ms = context.quick ? idleMs.quick : idleMs.full;
      const used = await usedWhile(() => seen(context.server.url, url, pods), pods, session, ms);
      if (system.name === 'lockkeeper') await settled(url, warmUp + count);
      await pods.stop();
      return used;
    });
  });
}

async function usedWhile(
  look: () => Promise<Seen>,
  pods: Pods,
  { count, send }: Session,
  ms: number,
): Promise<Used> {
  await pods.submit(itemsFrom(0, warmUp, tenants));
  await pods.ended(warmUp);
  await wait(restMs);
  const before = await look();
  await send(pods);
  await pods.ended(warmUp + count);
  await wait(restMs);
  const after = await look();
  await wait(ms);
  const idle = await look();
  return {
    transactions: (after.transactions - before.transactions) / count,
    statements: (after.statements - before.statements) / count,
    walBytes: (after.walBytes - before.walBytes) / count,
    idleStatements: (idle.statements - after.statements) / ((idle.ns - after.ns) / 1e9),
    memoryBytes: idle.memoryBytes,
  };
}

type Seen = Need & { walBytes: number; ns: number };

/** All so far: of the process, and of the log of the whole server, to which nobody else may write meanwhile. */
async function seen(server: string, url: string, pods: Pods): Promise<Seen> {
  const [need] = await pods.needs();
  if (!need) throw new Error('The process has not said what it needed.');
  return withClient(server, async (client) => {
    const { rows } = await client.query<{ wal: string; others: string }>(look, [
      new URL(url).pathname.slice(1),
    ]);
    const { wal, others } = { ...rows[0] };
    if (Number(others) > 0)
      throw new Error('Another database of this server is in use; its log would be counted.');
    return { ...need, walBytes: Number(wal), ns: nowNs() };
  });
}

const look = `select pg_current_wal_lsn() - '0/0'::pg_lsn as wal,
  (select count(*) from pg_stat_activity
    where datname <> $1 and pid <> pg_backend_pid() and backend_type = 'client backend' and state <> 'idle') as others`;
