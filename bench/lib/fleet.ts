/** Two hundred pods behind a PgBouncer in transaction mode: idle, and while one key goes from pod to pod. */

import { setTimeout as wait } from 'node:timers/promises';
import { startPgBouncer } from '../../test/support/pgbouncer.ts';
import type { Context, Item, Work } from '../types.ts';
import { cpuSeconds, serverCpuSeconds } from './cpu.ts';
import { itemsFrom, ours } from './flow.ts';
import { type Gate, startGate } from './gate.ts';
import { nowNs } from './marks.ts';
import { inPlace, type Place } from './measure.ts';
import { gapsOf, handledOf, overshootOf } from './observer.ts';
import { type Pods, withPods } from './processes.ts';
import { withClient } from './server.ts';
import { executing, numberOf } from './sql.ts';

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
/** How long it may take until all listen. */
const listeningMs = 60_000;
const lookEveryMs = 100;

/** How a fleet is set up. */
export type Fleet = {
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

/** The same fleet before any of its pods could listen, and when all do: starting it takes longer than all the rest. */
export type SeenOfBoth = { withoutWakes: Seen; withWakes: Seen };

/** Starts the fleet in a new database; lets it idle and then gives it work, without wakes and with them. */
export async function seenOf(context: Context, program: string, fleet: Fleet): Promise<SeenOfBoth> {
  const { url } = context.server;
  const pooler = await startPgBouncer(program, url, poolSize, mostClients);
  const gate = await startGate(url);
  try {
    return await inPlace(context, await ours(), (place) =>
      measured(context, place, { ...fleet, through: pooler.through, gate }),
    );
  } finally {
    await gate.close();
    await pooler.close();
  }
}

type Behind = Fleet & { through(url: string): string; gate: Gate };

const jobOf = ({ ownJobs }: Fleet, pod: number) => (ownJobs ? `job-${pod}` : 'item');
const podsOfEach = podCount / processes;

async function measured(
  { quick }: Context,
  { system, url, folder }: Place,
  fleet: Behind,
): Promise<SeenOfBoth> {
  const work: Work = { limit: { kind: 'key', capacity: 1 }, handlerMs };
  await system.prepare(url, work);
  const pods = Array.from({ length: podCount }, (_, pod) => jobOf(fleet, pod));
  const jobs = Array.from({ length: processes }, (_, no) =>
    pods.slice(no * podsOfEach, (no + 1) * podsOfEach),
  );
  const options = { system: system.name, url: fleet.through(url), processes, room, folder, jobs };
  const wakesUrl = fleet.gate.through(url);
  return withPods({ ...options, work: { ...work, wakesUrl } }, async (all) => {
    const { submit, close } = await system.open(url, work);
    const items = itemsOf(fleet);
    const part = async (half: readonly Item[], ended: number) => {
      await wait(quick ? restMs.quick : restMs.full);
      const idle = await ratesWhile(all, url, fleet, () => wait(fleet.idleSeconds * 1_000));
      const busy = await ratesWhile(all, url, fleet, () => submit(half).then(() => all.ended(ended)));
      return { idle, busy, half };
    };
    const first = await part(items.slice(0, items.length / 2), items.length / 2);
    fleet.gate.open();
    await allListen(url);
    const second = await part(items.slice(items.length / 2), items.length);
    await close();
    const handled = handledOf(await all.stop(), items);
    const seen = ({ idle, busy, half }: typeof first): Seen => ({
      idle,
      busy,
      gaps: gapsOf(
        handled.filter(({ no }) => half.some((item) => item.no === no)),
        1,
      )
        // The first to start took the slot from nobody.
        .slice(warmUp - 1)
        .map(({ ms }) => ms),
      overshoot: overshootOf(handled, 1),
    });
    return { withoutWakes: seen(first), withWakes: seen(second) };
  });
}

/** Of both halves; one after the other is in another process. */
function itemsOf(fleet: Fleet): Item[] {
  return itemsFrom(0, 2 * (warmUp + fleet.count)).map((item) => ({
    ...item,
    job: jobOf(fleet, ((item.no % processes) * podsOfEach + Math.floor(item.no / processes)) % podCount),
  }));
}

/** Resolves when every pod has a connection on which it listens. */
async function allListen(url: string): Promise<void> {
  const listening = `select count(*) as n from pg_stat_activity
    where datname = current_database() and application_name = 'lockkeeper listen'`;
  await withClient(url, async (client) => {
    const until = nowNs() + listeningMs * 1e6;
    for (;;) {
      const n = await numberOf(executing(client), listening);
      if (n >= podCount) return;
      if (nowNs() > until) throw new Error(`Only ${n} of ${podCount} pods listen.`);
      await wait(lookEveryMs);
    }
  });
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
