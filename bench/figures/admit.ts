/** Admissions per second, of runs that are laned already: a run takes three keys, and its first step is ready. */

import { job } from '../../src/index.ts';
import { type RateCase, ratesOf } from '../lib/lines.ts';
import { admitAll, expectNumber, laneAll, openLease, secondsOf, submitAll, withOurs } from '../lib/sql.ts';
import type { Bench, Context } from '../types.ts';

const empty = job('empty', { pool: 'warehouse' }, async () => {});

/** None is ever full: the runs of the deployment, of each of 100 customers, and of a pool that runs hold. */
const config = {
  concurrency: {
    runs: {
      max_concurrent_runs: 1_000_000,
      tag_concurrency_limits: [
        { key: 'customer', value: { applyLimitPerUniqueValue: true }, limit: 100_000 },
      ],
    },
    pools: { granularity: 'run', limits: { warehouse: 1_000_000 } },
  },
};

type Case = RateCase & { batch: number; runs: number; arrive?: boolean };

const cases = (quick: boolean): Case[] => [
  { name: 'batches of 100', batch: 100, runs: quick ? 5_000 : 20_000, goal: 12_000, stretch: 18_000 },
  { name: 'one by one', batch: 1, runs: quick ? 1_000 : 3_000, arrive: true, goal: 1_200, stretch: 1_500 },
  { name: 'one by one, 100 lanes open', batch: 1, runs: quick ? 300 : 3_000 },
];

/** Admissions a second, in a database of their own. */
async function once({ server }: Context, { name, batch, runs, arrive }: Case): Promise<number> {
  return withOurs(server, { jobs: [empty], config }, async ({ lockkeeper, client }) => {
    const database = client();
    await openLease(database, empty, 1); // A run is admitted only where somebody serves its job.
    const submission = (no: number) => ({ job: 'empty', tags: { customer: `c${no % 100}` } });
    let seconds = 0;
    if (arrive) {
      for (let no = 0; no < runs; no += 1) {
        await lockkeeper.submitMany([submission(no)]);
        await laneAll(database);
        seconds += await secondsOf(() => admitAll(database, 1, batch));
      }
    } else {
      await submitAll(lockkeeper, runs, submission);
      await laneAll(database);
      seconds = await secondsOf(() => admitAll(database, runs, batch));
    }
    const held = 'select count(*) as n from lockkeeper.slots where place = 0';
    await expectNumber(database, `slots of ${runs} runs admitted in ${name}`, held, runs * 3);
    return runs / seconds;
  });
}

const run = (context: Context) => ratesOf(context, 'admit', 'admissions/s', cases(context.quick), once);

/** The figure `admit`. */
export const admit: Bench = {
  name: 'admit',
  title: 'Admissions per second, three keys each',
  about: `Runs of one step are submitted and laned first. Then one client calls \`lockkeeper.admit(n)\` until all are admitted; the
clock covers that. One by one, each run is admitted as it arrives, before the next is submitted; or all are there, in 100 open lanes, of
which each call looks at every one (listed; a coordinator asks for 500 at a time). Each run takes a slot of its deployment, of its customer (a tag of 100 values, each with a key of its
own) and of a pool that runs hold; none is ever full. It throws when admission stops early, or when the runs do not hold
three slots each at the end.`,
  run,
};
