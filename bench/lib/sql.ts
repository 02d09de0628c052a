/** Lockkeeper on a new database of the bench, driven by its SQL functions alone: no loop and no handler is between. */

import type pg from 'pg';
import { type Database, openDatabase, untilDone } from '../../src/database.ts';
import {
  type AnyJob,
  createLockkeeper,
  definitionOf,
  type Lockkeeper,
  migrateDatabase,
} from '../../src/index.ts';
import { Lease } from '../../src/leases.ts';
import type { BenchServer, Template } from '../types.ts';

/** What `withOurs` hands to its work. */
export type Ours = {
  lockkeeper: Lockkeeper;
  url: string;
  /** Opens a client: one connection, closed at the end. */
  client(): Database;
};

export type OursOptions = {
  jobs: readonly AnyJob[];
  /** The configuration, as lockkeeper.yaml has it. */
  config: unknown;
  /** Full deployments beside `default`. */
  deployments?: readonly string[];
};

/** The lines of our own log are no part of a figure, but what goes wrong is to be seen. */
export const quiet = { info() {}, debug() {}, warn: console.warn, error: console.error };

/** A database in which ours is migrated and nothing else was done. */
export const template: Template = {
  name: 'lockkeeper',
  migrate: async (url) => {
    await migrateDatabase({ connectionString: url });
  },
};

/** Submissions in one transaction. */
export const submitBatch = 1_000;
const laneBatch = 1_000;

/** Works on Lockkeeper in a new database, which is dropped at the end; the figure fails if a rule was broken there. */
export async function withOurs<T>(
  server: BenchServer,
  options: OursOptions,
  work: (ours: Ours) => Promise<T>,
): Promise<T> {
  const { url, drop } = await server.database('ours', template);
  const clients: Database[] = [];
  const client = () => {
    const database = openDatabase({ connectionString: url, max: 1, applicationName: 'bench' });
    clients.push(database);
    return database;
  };
  try {
    const lockkeeper = await createLockkeeper({ connectionString: url, jobs: options.jobs, log: quiet });
    try {
      for (const name of options.deployments ?? []) await lockkeeper.addDeployment(name, 'full');
      await lockkeeper.applyConfig(options.config);
      await lockkeeper.register();
      const answer = await work({ lockkeeper, url, client });
      await checkRules(lockkeeper.database);
      return answer;
    } finally {
      await Promise.all(clients.map((each) => each.close()));
      await lockkeeper.close();
    }
  } finally {
    await drop();
  }
}

/** Submits `n` runs in batches of 1,000; `submission` answers the one with that number, from 0. */
export async function submitAll(
  lockkeeper: Lockkeeper,
  n: number,
  submission: (no: number) => unknown,
): Promise<void> {
  for (let first = 0; first < n; first += submitBatch) {
    const length = Math.min(submitBatch, n - first);
    await lockkeeper.submitMany(Array.from({ length }, (_, i) => submission(first + i)));
  }
}

/** Lanes all that was submitted. */
export async function laneAll({ execute }: Database): Promise<void> {
  await untilDone(execute, 'select * from lockkeeper.lane($1)', [laneBatch]);
}

type Admitted = { run_ids: string[]; more: boolean };

/** Calls admit with `batch` until `n` runs are admitted; answers how many calls it took. Throws when one admits nobody. */
export async function admitAll({ execute }: Database, n: number, batch: number): Promise<number> {
  let calls = 0;
  for (let admitted = 0; admitted < n; calls += 1) {
    const { rows } = await execute('select * from lockkeeper.admit($1)', [batch]);
    const [{ run_ids: runIds, more }] = rows as [Admitted];
    if (runIds.length === 0 && !more) throw new Error(`Admission stopped at ${admitted} of ${n} runs.`);
    admitted += runIds.length;
  }
  return calls;
}

/** A lease of a worker with this room, which serves one job; it outlives the figure. */
export function openLease({ execute }: Database, served: AnyJob, room: number): Promise<Lease> {
  const { job, version } = definitionOf(served);
  return Lease.open(execute, { worker: 'bench', room, versions: [{ job, version }], leaseMs: 3_600_000 });
}

/** A number that a statement answers as `n`. */
export async function numberOf({ execute }: Pick<Database, 'execute'>, text: string): Promise<number> {
  const { rows } = await execute(text, []);
  return Number(rows[0]?.n);
}

/** A client of pg as these functions take it. */
export const executing = (client: pg.ClientBase): Pick<Database, 'execute'> => ({
  execute: (text, values) => client.query(text, values),
});

/** Throws unless the statement answers this number. */
export async function expectNumber(
  database: Pick<Database, 'execute'>,
  what: string,
  text: string,
  n: number,
): Promise<void> {
  const seen = await numberOf(database, text);
  if (seen !== n) throw new Error(`${what}: ${seen}, and not ${n}.`);
}

async function checkRules({ execute }: Database): Promise<void> {
  const { rows } = await execute('select * from lockkeeper.violations', []);
  if (rows.length > 0) throw new Error(`Rules were broken: ${JSON.stringify(rows.slice(0, 5))}`);
}

/** Seconds that `work` takes, by a clock that nobody sets. */
export async function secondsOf(work: () => Promise<unknown>): Promise<number> {
  const started = process.hrtime.bigint();
  await work();
  return Number(process.hrtime.bigint() - started) / 1e9;
}
