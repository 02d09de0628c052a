/** Makes room for a new start: tables made anew, runs of an earlier start canceled. */

import pg from 'pg';
import type { AnyJob, Lockkeeper } from '../src/index.ts';

const turnLock = 5_505_019;

/** Only one example at a time in a database. Ends with its connection. */
export async function takeTurn(connectionString: string): Promise<{ end(): Promise<void> }> {
  const client = new pg.Client({ connectionString, application_name: 'lockkeeper example turn' });
  client.on('error', (error) => console.error(`lockkeeper: the example lost a connection: ${error.message}`));
  await client.connect();
  const { rows } = await client.query('select pg_try_advisory_lock($1, 1) as mine', [turnLock]);
  if (rows[0]?.mine === true) return client;
  await client.end();
  throw new Error(
    'The example is running in this database already. Wait for it, or give it another database.',
  );
}

type Prepared = { lockkeeper: Lockkeeper; jobs: readonly AnyJob[]; pool: pg.Pool; schema: string };

/**
 * The example replaces the whole configuration, so it takes only a database that nobody else uses for jobs.
 * @throws {Error} naming the jobs that are not of the example.
 */
export async function prepareDatabase({ lockkeeper, jobs, pool, schema }: Prepared): Promise<void> {
  const { execute } = lockkeeper.database;
  const { rows: others } = await execute('select job from lockkeeper.jobs where job <> all ($1)', [
    jobs.map(({ name }) => name),
  ]);
  if (others.length > 0) {
    const names = others.map(({ job }) => job).join(', ');
    throw new Error(
      `This database has jobs that are not of the example (${names}), and the example would replace its limits. ` +
        'Set DATABASE_URL to another database.',
    );
  }
  const { rows: left } = await execute(
    `select run_id from lockkeeper.runs where state in ('queued', 'admitted', 'running')`,
    [],
  );
  for (const { run_id } of left) await lockkeeper.cancel(String(run_id), { force: true });
  const name = pg.escapeIdentifier(schema);
  await pool.query(`drop schema if exists ${name} cascade; create schema ${name}`);
}
