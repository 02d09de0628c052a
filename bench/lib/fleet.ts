/** Two hundred pods behind a PgBouncer in transaction mode: idle, and while one key goes from pod to pod. */

import { setTimeout as wait } from 'node:timers/promises';
import { startPgBouncer } from '../../test/support/pgbouncer.ts';
import type { Context, Work } from '../types.ts';
import { cpuSeconds, serverCpuSeconds } from './cpu.ts';
import { itemsFrom, ours } from './flow.ts';
import { nowNs } from './marks.ts';
import { inPlace, type Place } from './measure.ts';
import { gapsOf, handledOf, overshootOf } from './observer.ts';
import { type Pods, withPods } from './processes.ts';
import { withClient } from './server.ts';

/** Each with a coordinator, a worker and connections of its own. */
export const podCount = 200;
export const processes = 4;
export const handlerMs = 100;
const room = 10;
/** Server connections that all pods share. */
const poolSize = 20;
/** Of each pod: its pool, its renewal, its attempt to listen. */
const mostClients = 10 * podCount;
/** Until what follows a start is over, and each pod ticks on its own. */
const restMs = { quick: 5_000, full: 10_000 };
const warmUp = 10;

/** How a fleet is set up. */
export type Fleet = {
  /** Each pod also listens, by a direct connection. */
  wakes: boolean;
  /** Each pod serves a job of its own, so that the slot goes to another pod each time. */
  ownJobs: boolean;
  idleSeconds: number;
  /** Hand-overs that are measured. */
  count: number;
};

/** Statements and seconds of processor time, each for a second that passes. */
export type Rates = { statements: number; serverCpu: number; podsCpu: number };

/** What was seen of a fleet. `gaps`: milliseconds of each hand-over. */
export type Seen = { idle: Rates; busy: Rates; gaps: number[]; overshoot: number };

/** Starts the fleet in a new database, lets it idle and then gives it work. */
export async function seenOf(context: Context, program: string, fleet: Fleet): Promise<Seen> {
  const pooler = await startPgBouncer(program, context.server.url, poolSize, mostClients);
  try {
    return await inPlace(context, await ours(), (place) =>
      measured(context, place, { ...fleet, through: pooler.through }),
    );
  } finally {
    await pooler.close();
  }
}

type Behind = Fleet & { through(url: string): string };

const jobOf = ({ ownJobs }: Fleet, pod: number) => (ownJobs ? `job-${pod}` : 'item');

async function measured(context: Context, { system, url, folder }: Place, fleet: Behind): Promise<Seen> {
  const work: Work = { limit: { kind: 'key', capacity: 1 }, handlerMs };
  await system.prepare(url, work);
  const pods = Array.from({ length: podCount }, (_, pod) => jobOf(fleet, pod));
  const each = podCount / processes;
  const jobs = Array.from({ length: processes }, (_, no) => pods.slice(no * each, (no + 1) * each));
  const options = { system: system.name, url: fleet.through(url), processes, room, folder, jobs };
  return withPods(
    { ...options, work: { ...work, ...(fleet.wakes ? { wakesUrl: url } : {}) } },
    async (all) => {
      await wait(context.quick ? restMs.quick : restMs.full);
      const rates = (during: () => Promise<unknown>) => ratesWhile(all, url, fleet, during);
      const idle = await rates(() => wait(fleet.idleSeconds * 1_000));
      const items = itemsFrom(0, warmUp + fleet.count).map((item) => ({
        ...item,
        // One after the other is in another process.
        job: jobOf(fleet, ((item.no % processes) * each + Math.floor(item.no / processes)) % podCount),
      }));
      const { submit, close } = await system.open(url, work);
      const busy = await rates(() => submit(items).then(() => all.ended(items.length)));
      await close();
      const handled = handledOf(await all.stop(), items);
      // The first to start took the slot from nobody.
      const gaps = gapsOf(handled, 1).slice(warmUp - 1);
      return { idle, busy, gaps: gaps.map(({ ms }) => ms), overshoot: overshootOf(handled, 1) };
    },
  );
}

async function ratesWhile(
  pods: Pods,
  url: string,
  { through }: Behind,
  during: () => Promise<unknown>,
): Promise<Rates> {
  const look = async () => ({
    ns: nowNs(),
    statements: await statementsThrough(through(url)),
    serverCpu: await serverCpuSeconds(url),
    podsCpu: cpuSeconds(pods.pids),
  });
  const from = await look();
  await during();
  const to = await look();
  const seconds = (to.ns - from.ns) / 1e9;
  const rate = (name: keyof Rates) => (to[name] - from[name]) / seconds;
  return { statements: rate('statements'), serverCpu: rate('serverCpu'), podsCpu: rate('podsCpu') };
}

/** All that went through the pooler to this database so far, by its own count: renewals are in it, too. */
function statementsThrough(url: string): Promise<number> {
  const console = new URL(url);
  const database = console.pathname.slice(1);
  console.pathname = '/pgbouncer';
  return withClient(console.href, async (client) => {
    const { rows } = await client.query<{ database: string; total_query_count: string }>('show stats');
    const found = rows.find((row) => row.database === database);
    if (!found) throw new Error(`PgBouncer knows nothing of ${database}.`);
    return Number(found.total_query_count);
  });
}
