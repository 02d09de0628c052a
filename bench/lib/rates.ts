/** How many pieces of work a system does in a second when no limit is full. */

import { setTimeout as wait } from 'node:timers/promises';
import type { Limit, System, Work } from '../types.ts';
import { itemsFrom, numbered } from './flow.ts';
import { nowNs } from './marks.ts';
import type { Place } from './measure.ts';
import { boundsOf, handledOf } from './observer.ts';
import { type Pods, withPods } from './processes.ts';
import { withClient } from './server.ts';

export type Rush = {
  limit: Limit;
  processes: number;
  /** How many pieces are measured, at most and at least. */
  count: number;
  least: number;
  /** A system that would need longer than so many seconds gets as many as it does in that time. */
  seconds: number;
};

const warmUp = 1_000;
const tenants = 100;
/** After the warm-up: what follows the last handler is over then. */
const restMs = 500;

/** At how much room each is fastest of 10, 50 and 500; by the first word of its name. */
const rooms: Readonly<Record<string, number>> = { lockkeeper: 500, 'pg-boss': 500, DBOS: 500 };
const otherRoom = 50;

/** The room of one process in which this system is fastest. */
export const roomOf = ({ name }: System): number => rooms[name.split(',')[0] ?? ''] ?? otherRoom;

/**
 * Pieces a second, so many times, from the first submission (each process submits its share and works) to the end of the last handler;
 * of ours, until every run has ended in the database and no ticket is left to be made or closed.
 */
export async function ratesOfRush(
  { system, url, folder }: Place,
  rush: Rush,
  times: number,
): Promise<number[]> {
  const { limit, processes } = rush;
  const work: Work = { limit, handlerMs: 0 };
  await system.prepare(url, work);
  const options = { system: system.name, url, work, processes, room: roomOf(system), folder };
  return withPods(options, async (pods) => {
    const first = await submitted(pods, 0, warmUp);
    const warm = nowNs();
    if (system.name === 'lockkeeper') await settled(url, warmUp);
    const count = sizeOf(rush, (warm - first) / 1e9);
    await wait(restMs);
    const rounds: { first: number; from: number; told: number | undefined }[] = [];
    for (let first = warmUp; first < warmUp + times * count; first += count) {
      const from = await submitted(pods, first, count);
      const told = system.name === 'lockkeeper' ? await settled(url, first + count) : undefined;
      rounds.push({ first, from, told });
    }
    const handled = handledOf(await pods.stop(), itemsFrom(0, warmUp + times * count));
    return rounds.map(({ first, from, told }) => {
      const until = told ?? boundsOf(numbered(handled, first, count)).last;
      return count / ((until - from) / 1e9);
    });
  });
}

/** Resolves when all of them have been handled; when the submission began, in nanoseconds. */
async function submitted(pods: Pods, from: number, count: number): Promise<number> {
  const began = nowNs();
  await pods.submit(itemsFrom(from, count, tenants));
  await pods.ended(from + count);
  return began;
}

function sizeOf({ count, least, seconds }: Rush, warmUpSeconds: number): number {
  return Math.min(count, Math.max(least, Math.floor((warmUp / warmUpSeconds) * seconds)));
}

/** What is left of so many runs: those that have not succeeded, and tickets to be made, to be closed, or there. */
const left = `select $1 - (select count(*) from lockkeeper.runs where state = 'succeeded')
  + (select count(*) from lockkeeper_data.ticket_changes)
  + (select count(*) from pgboss.job where name = 'lockkeeper.runs') as left`;

/** How long our ends and tickets may take after the last handler. */
const settledMs = 30_000;
const lookEveryMs = 5;

/** Waits until all runs have ended and their tickets are closed; when that was seen, in nanoseconds. */
export async function settled(url: string, runs: number): Promise<number> {
  return withClient(url, async (client) => {
    const deadline = nowNs() + settledMs * 1e6;
    for (;;) {
      const { rows } = await client.query<{ left: string }>(left, [runs]);
      const now = nowNs();
      if (Number(rows[0]?.left) === 0) return now;
      if (now > deadline) throw new Error(`Of ${runs} runs ${rows[0]?.left} ends or tickets are still open.`);
      await wait(lookEveryMs);
    }
  });
}
