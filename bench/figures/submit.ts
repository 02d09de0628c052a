/** Runs submitted per second in a transaction of the caller's, beside the jobs that pg-boss inserts in one. */

import type pg from 'pg';
import { PgBoss } from 'pg-boss';
import { job, type Lockkeeper } from '../../src/index.ts';
import { withClient } from '../lib/server.ts';
import { executing, expectNumber, secondsOf, submitBatch, withOurs } from '../lib/sql.ts';
import { type Interval, medianInterval, ratioOfPairs } from '../lib/stats.ts';
import type { Bench, Context, Figure, Result, Verdict } from '../types.ts';

const name = `batches of ${submitBatch.toLocaleString('en')}, in the caller's transaction`;
const goal = 0.5;
const warmUp = 3;
const queue = 'bench';
const empty = job('empty', async () => {});

/** What a run or a job is given, the same for both. */
const inputOf = (no: number) => ({ no, to: `customer-${no % 100}`, note: 'x'.repeat(50) });

type Submitter = {
  /** Of pieces with these inputs, in one transaction. */
  submit(inputs: readonly object[]): Promise<void>;
  /** Throws unless so many are there. */
  check(n: number): Promise<void>;
};

/** In a transaction of this client, as somebody does who writes something of his own with it. */
async function inTransaction(client: pg.Client, work: () => Promise<unknown>): Promise<void> {
  await client.query('begin');
  await work();
  await client.query('commit');
}

function ours(lockkeeper: Lockkeeper, client: pg.Client): Submitter {
  const queued = "select count(*) as n from lockkeeper.runs where state = 'queued'";
  const tickets = "select count(*) as n from pgboss.job where name = 'lockkeeper.runs'";
  return {
    submit: (inputs) =>
      inTransaction(client, () =>
        lockkeeper.submitMany(
          inputs.map((input) => ({ job: 'empty', input })),
          client,
        ),
      ),
    check: async (n) => {
      await expectNumber(executing(client), 'queued runs', queued, n);
      await expectNumber(executing(client), 'their tickets', tickets, n);
    },
  };
}

function theirs(boss: PgBoss, client: pg.Client): Submitter {
  const db = { executeSql: (text: string, values?: unknown[]) => client.query(text, values) };
  return {
    submit: (inputs) =>
      inTransaction(client, () =>
        boss.insert(
          queue,
          inputs.map((data) => ({ data })),
          { db },
        ),
      ),
    check: (n) => {
      const inserted = `select count(*) as n from pgboss.job where name = '${queue}'`;
      return expectNumber(executing(client), 'jobs', inserted, n);
    },
  };
}

/** pg-boss in a new database, which is dropped at the end. */
async function withTheirs<T>({ server }: Context, work: (submitter: Submitter) => Promise<T>): Promise<T> {
  const { url, drop } = await server.database('pg-boss');
  const boss = new PgBoss({ connectionString: url, supervise: false, schedule: false });
  boss.on('error', (error) => console.error(`pg-boss: ${error.message}`));
  await boss.start();
  try {
    await boss.createQueue(queue);
    return await withClient(url, (client) => work(theirs(boss, client)));
  } finally {
    await boss.stop();
    await drop();
  }
}

type Rates = { ours: number[]; theirs: number[] };

/** Rates of `pairs` pairs of batches; who is first changes from one to the next. */
async function ratesOf(us: Submitter, them: Submitter, pairs: number): Promise<Rates> {
  const rates: Rates = { ours: [], theirs: [] };
  for (let pair = -warmUp; pair < pairs; pair += 1) {
    const inputs = Array.from({ length: submitBatch }, (_, i) => inputOf(i));
    const rate = async (of: Submitter, into: number[]) => {
      const seconds = await secondsOf(() => of.submit(inputs));
      if (pair >= 0) into.push(submitBatch / seconds);
    };
    const both = [() => rate(us, rates.ours), () => rate(them, rates.theirs)];
    for (const one of pair % 2 === 0 ? both : both.toReversed()) await one();
  }
  const all = (warmUp + pairs) * submitBatch;
  await us.check(all);
  await them.check(all);
  return rates;
}

function lineOf(system: string, unit: string, rates: readonly number[], ratio: number | null): Result {
  const { median: value, low, high } = medianInterval(rates);
  return { bench: 'submit', case: name, system, value, unit, spread: [low, high], overshoot: null, ratio };
}

function verdictOf({ median, low, high }: Interval): Verdict {
  const seen = `${median.toFixed(2)} (95 %: ${low.toFixed(2)} – ${high.toFixed(2)})`;
  return { bench: 'submit', case: name, goal: `≥ ${goal} of pg-boss`, seen, met: median >= goal };
}

async function measure(context: Context): Promise<Figure> {
  const pairs = context.quick ? 50 : 200;
  const rates = await withOurs(context.server, { jobs: [empty], config: {} }, ({ lockkeeper, url }) =>
    withClient(url, (client) =>
      withTheirs(context, (them) => ratesOf(ours(lockkeeper, client), them, pairs)),
    ),
  );
  const ratio = ratioOfPairs(rates.ours, rates.theirs);
  const results = [
    lineOf('lockkeeper', 'runs/s', rates.ours, null),
    lineOf('pg-boss', 'runs/s', rates.theirs, ratio.median),
  ];
  return { results, verdicts: [verdictOf(ratio)] };
}

const run = (context: Context): Promise<Figure> => context.parts([{ name, measure: () => measure(context) }]);

/** The figure `submit`. */
export const submit: Bench = {
  name: 'submit',
  title: 'Runs submitted per second, in the transaction of the caller',
  about: `A client of pg begins a transaction, hands it to \`lockkeeper.submitMany\` with ${submitBatch} runs of one step (the runs are
written, and the ticket of each in the queue), and commits; the clock covers all three. pg-boss does the same in a
database of its own, with \`insert\` (its \`db\` is the client) of as many jobs with the same data, into a queue with nothing
set. Nobody works on either. They take turns, in pairs, 200 of them (\`--quick\`: 50) after ${warmUp} that do not count; who is first
changes with each pair. The spread is the 95 % interval of the median, the ratio the median of the pairs. It throws when not
every run, its ticket and every job is there at the end.`,
  run,
};
