/** Claims and finishes per second, of steps that take three keys each, by clients that do nothing between the two. */

import type { Database } from '../../src/database.ts';
import { job } from '../../src/index.ts';
import type { Lease } from '../../src/leases.ts';
import type { Claimed } from '../../src/steps.ts';
import { refOf } from '../../src/worker/held.ts';
import { type RateCase, ratesOf } from '../lib/lines.ts';
import {
  admitAll,
  expectNumber,
  laneAll,
  type Ours,
  openLease,
  secondsOf,
  submitAll,
  withOurs,
} from '../lib/sql.ts';
import type { Bench, Context } from '../types.ts';

const pools = ['hot', 'second', 'third'];
const empty = job('empty', { pool: { hot: 1, second: 1, third: 1 } }, async () => {});
const deployments = Array.from({ length: 100 }, (_, i) => `d${i}`);

type Case = RateCase & {
  clients: number;
  /** What a client claims, and then finishes, at once. */
  batch: number;
  /** How many of the three keys each of 100 deployments has for itself; the others all steps share. */
  ownKeys: number;
  runs: number;
};

const cases = (quick: boolean): Case[] => {
  const runs = (n: number) => (quick ? n / 4 : n);
  const hot = { clients: 4, batch: 100, ownKeys: 0, runs: runs(40_000), goal: 15_000, stretch: 20_000 };
  const keys = { ...hot, runs: runs(24_000), goal: 10_000, stretch: 15_000 };
  return [
    { name: 'one by one', clients: 1, batch: 1, ownKeys: 0, runs: runs(4_000), goal: 1_000, stretch: 1_500 },
    {
      ...hot,
      name: '16 × 10, one hot key',
      clients: 16,
      batch: 10,
      runs: runs(16_000),
      goal: 6_000,
      stretch: 8_000,
    },
    { ...hot, name: '4 × 100, one hot key' },
    { ...keys, name: '4 × 100, 100 keys', ownKeys: 1 },
    { name: '4 × 100, 100 times 3 keys', clients: 4, batch: 100, ownKeys: 3, runs: runs(16_000) },
  ];
};

/** No pool is ever full. */
function configOf(ownKeys: number) {
  const limits = pools.map((pool, i) => [
    pool,
    { limit: 1_000_000, scope: i < ownKeys ? 'deployment' : 'all' },
  ]);
  return { concurrency: { pools: { limits: Object.fromEntries(limits) } } };
}

/** Claims and finishes a second, in a database of their own. */
function once({ server }: Context, each: Case): Promise<number> {
  const { clients, batch, ownKeys, runs } = each;
  return withOurs(server, { jobs: [empty], config: configOf(ownKeys), deployments }, async (ours) => {
    const databases = Array.from({ length: clients }, () => ours.client());
    const leases = await Promise.all(databases.map((database) => openLease(database, empty, batch)));
    const spread = ownKeys > 0 ? deployments : ['default'];
    await submitAll(ours.lockkeeper, runs, (no) => ({
      job: 'empty',
      deployment: spread[no % spread.length],
    }));
    const database = ours.client();
    await laneAll(database);
    await admitAll(database, runs, 500);
    await checkKeys(database, leases[0] as Lease);
    const left = { claims: runs };
    const seconds = await secondsOf(() => Promise.all(leases.map((lease) => workOff(lease, batch, left))));
    await checkEnd(ours, database, runs);
    return runs / seconds;
  });
}

/** Finishes what it has and claims the next, until no step is left. */
async function workOff(lease: Lease, batch: number, left: { claims: number }): Promise<void> {
  let held: Claimed[] = [];
  while (left.claims > 0 || held.length > 0) {
    const endings = held.map((step) => ({ ...refOf(step), outcome: 'succeeded' as const }));
    const { answers, steps } = await lease.exchange(endings, left.claims > 0 ? batch : 0);
    left.claims -= steps.length;
    held = steps;
    const refused = answers.filter((answer) => answer !== 'accepted');
    if (refused.length > 0) throw new Error(`A finish was answered ${refused[0]}.`);
  }
}

/** One step takes three keys; it is handed back, so that all are left. */
async function checkKeys(database: Database, lease: Lease): Promise<void> {
  const { steps } = await lease.claim(1);
  await expectNumber(
    database,
    'keys of a step',
    'select count(*) as n from lockkeeper.slots where place > 0',
    3,
  );
  await lease.finish(steps.map((step) => ({ ...refOf(step), outcome: 'returned' })));
}

/** Every run has ended well, and nothing is held. */
async function checkEnd({ lockkeeper }: Ours, database: Database, runs: number): Promise<void> {
  const ended = "select count(*) as n from lockkeeper.runs where state = 'succeeded'";
  await expectNumber(database, 'runs that succeeded', ended, runs);
  await expectNumber(
    lockkeeper.database,
    'slots held at the end',
    'select count(*) as n from lockkeeper.slots',
    0,
  );
}

const run = (context: Context) => ratesOf(context, 'steps', 'steps/s', cases(context.quick), once);

/** The figure `steps`. */
export const steps: Bench = {
  name: 'steps',
  title: 'Claim and finish per second, three keys each',
  about: `Runs of one step are submitted, laned and admitted first. Then so many clients, each with one connection and one
lease, call \`lockkeeper.exchange\` through the \`Lease\` that a worker uses, which finishes so many steps and claims as many,
until none is left; the clock covers that, and with it the ends of the runs. No handler is between. Each step takes
a slot of three pools, none of which is ever full: all steps the same three (*one hot key*), one of the three of its
deployment's own, of 100 (*100 keys*), or all three (*100 times 3 keys*). It throws when a step had not three keys, a finish
was not accepted, a run did not succeed, or a slot is left at the end.`,
  run,
};
