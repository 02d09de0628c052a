/** What a run of one step costs the database, and what a pod costs in memory. */

import { execFile } from 'node:child_process';
import { setTimeout as wait } from 'node:timers/promises';
import { promisify } from 'node:util';
import { besideBefore } from '../lib/before.ts';
import { ours, systemsThatKeep } from '../lib/flow.ts';
import { line, repeated } from '../lib/lines.ts';
import { itemsOf, type Used, usedBy, warmUp } from '../lib/need.ts';
import type { Pods } from '../lib/processes.ts';
import type { Bench, Context, Figure, Limit, Part, Result, System } from '../types.ts';

const bench = 'cost';
const mebibyte = 1_024 ** 2;
/** Between two that come one at a time: what follows the end of one is no part of the next. */
const gapMs = 20;

type Case = {
  name(count: string): string;
  limit: Limit;
  count: number;
  send(pods: Pods, count: number): Promise<unknown>;
};

const together = (pods: Pods, count: number) => pods.submit(itemsOf(0, count));

async function oneByOne(pods: Pods, count: number): Promise<void> {
  for (let no = 0; no < count; no += 1) {
    await pods.submit(itemsOf(no, 1));
    await pods.ended(warmUp + no + 1);
    await wait(gapMs);
  }
}

const three = { kind: 'three' } as const;

const cases = (quick: boolean): Case[] => [
  { name: (n) => `3 limits, ${n} at full load`, limit: three, count: quick ? 3_000 : 20_000, send: together },
  { name: (n) => `3 limits, ${n} one at a time`, limit: three, count: quick ? 50 : 200, send: oneByOne },
];

/** What peers can be compared by. */
const unlimited: Case = {
  name: (n) => `no limit, ${n} at full load`,
  limit: { kind: 'none' },
  count: 2_000,
  send: together,
};

async function costs(context: Context, system: System, one: Case): Promise<Result[]> {
  const { limit, count, send } = one;
  const name = one.name(count.toLocaleString('en'));
  const all = await repeated(context, async () => {
    const used = await usedBy(context, { system, limit, count, send: (pods) => send(pods, count) });
    context.say(`${name}: ${system.name}: ${used.statements.toPrecision(3)} statements/run`);
    return used;
  });
  const ofEach = (unit: string, of: (used: Used) => number) =>
    line({ bench, case: name, system: system.name, unit, values: all.map(of) });
  return [
    ofEach('transactions/run', ({ transactions }) => transactions),
    ofEach('statements/run', ({ statements }) => statements),
    ofEach('bytes of WAL/run', ({ walBytes }) => walBytes),
    ofEach('statements in an idle second', ({ idleStatements }) => idleStatements),
    ofEach('MiB of memory', ({ memoryBytes }) => memoryBytes / mebibyte),
  ];
}

/** Memory of a process of Node that loads nothing. */
async function bareMemory(context: Context): Promise<Result> {
  const values = await repeated(context, async () => {
    const { stdout } = await promisify(execFile)(process.execPath, ['-p', 'process.memoryUsage.rss()']);
    return Number(stdout) / mebibyte;
  });
  return line({ bench, case: 'nothing loaded', system: 'floor, Node alone', unit: 'MiB of memory', values });
}

async function run(context: Context): Promise<Figure> {
  const own = await ours();
  const peers = context.quick ? [] : await systemsThatKeep(unlimited.limit);
  const part = (name: string, measure: () => Promise<Result[]>): Part => ({
    name,
    measure: async () => besideBefore(await measure()),
  });
  const of = (system: System, one: Case) =>
    part(`${one.name(one.count.toLocaleString('en'))}: ${system.name}`, () => costs(context, system, one));
  return context.parts([
    ...cases(context.quick).map((one) => of(own, one)),
    ...peers.map((system) => of(system, unlimited)),
    part('nothing loaded', async () => [await bareMemory(context)]),
  ]);
}

/** The figure `cost`. */
export const cost: Bench = {
  name: bench,
  title: 'What a run of one step costs',
  about: `One worker process in a new database, which has worked off ${warmUp} runs before anything counts. It submits and works
off many runs at once (*full load*: 20,000, \`--quick\`: 3,000), or so many *one at a time* (200, \`--quick\`: 50), each
${gapMs} ms after the handler of the last was seen to have ended; each run takes a slot of its deployment, of its tenant (of 100)
and of a pool. What that took until half a second after the last, divided by the runs, is what a run costs: submission,
ticket and everything that follows its end are in it. Statements are what the server answered to pg in that process,
each at most one round trip; transactions those after which it said that none is open, so that a statement on its own is
one, also if it only reads; bytes of WAL the way that \`pg_current_wal_lsn()\` went, of the whole server, what autovacuum
does included. A checkpoint comes before the warm-up, since a page is logged whole the first time after one. Then it has
nothing to do for 5 s (\`--quick\`: 2 s); memory is what it has resident after that, beside a process of Node that loads
nothing. Without \`--quick\` every system is listed with no limit, 2,000 pieces, with the room that \`runs\` gives it. *Before*
are the lines of an earlier version with as many runs, from \`before.json\`. It throws when a run has not succeeded, a ticket
is left, or another database of the server is in use.`,
  run,
};
