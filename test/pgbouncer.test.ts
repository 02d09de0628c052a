/** Everything through a PgBouncer in transaction mode, where statements of one client reach several server connections. */

import pg from 'pg';
import { afterAll, afterEach, beforeAll, describe, expect, inject, test } from 'vitest';
import { type Database, executor, openDatabase } from '../src/database.ts';
import { createLockkeeper, IsolationError, job, type Lockkeeper, migrateDatabase } from '../src/index.ts';
import { keepingLog } from './support/log.ts';
import { findPgBouncer, type PgBouncer, startPgBouncer } from './support/pgbouncer.ts';
import { type Clone, cloneTemplate } from './support/template.ts';

const program = findPgBouncer();
const template = inject('template');
const poolSize = 3;

describe.skipIf(!program)(
  program ? 'through PgBouncer' : 'through PgBouncer: there is no program pgbouncer in PATH',
  () => {
    let pooler: PgBouncer;
    let clone: Clone;
    /** Past the pooler. */
    let direct: Database;
    let connectionString: string;
    const open: Lockkeeper[] = [];
    const log = keepingLog();
    const started = new Set<string>();
    let hold = Promise.withResolvers<void>();
    const jobs = [
      job('load')
        .step('extract', { pool: 'warehouse' }, async ({ run }) => run.id)
        .step('copy', { after: ['extract'], pool: 'warehouse' }, ({ outputs }) => outputs.extract),
      job('long', async ({ run }) => {
        started.add(run.id);
        await hold.promise;
      }),
    ];

    beforeAll(async () => {
      pooler = await startPgBouncer(program as string, template.url, poolSize);
    });
    afterAll(() => pooler?.close());

    async function prepare(empty = false): Promise<void> {
      hold = Promise.withResolvers();
      log.lines.length = 0;
      clone = await cloneTemplate(template, empty);
      direct = openDatabase({ connectionString: clone.url, max: 2, applicationName: 'past the pooler' });
      connectionString = pooler.through(clone.url);
    }

    afterEach(async () => {
      hold.resolve();
      for (const each of open.splice(0)) await each.close();
      const { rows } = await direct.execute('select * from lockkeeper.violations', []);
      await direct.close();
      await clone.drop();
      expect(rows).toEqual([]);
    });

    async function lockkeeper(): Promise<Lockkeeper> {
      const opened = await createLockkeeper({ connectionString, jobs, log });
      open.push(opened);
      return opened;
    }

    /** Connections of the pooler to this database. */
    async function backends(): Promise<number[]> {
      const { rows } = await direct.execute(
        `select pid from pg_stat_activity where datname = current_database() and backend_type = 'client backend'
         and application_name <> 'past the pooler'`,
        [],
      );
      return rows.map(({ pid }) => Number(pid));
    }

    test('two pods run sixty runs under a limit, over three server connections', async () => {
      await prepare();
      const pods = [await lockkeeper(), await lockkeeper()] as const;
      await pods[0].applyConfig({
        concurrency: {
          runs: { max_concurrent_runs: 20 },
          pools: { limits: { warehouse: 3 }, op_granularity_run_buffer: 9 },
        },
      });
      for (const [index, pod] of pods.entries()) await pod.work({ room: 5, name: `w${index}` });
      const submissions = Array.from({ length: 60 }, () => ({ job: 'load' }));
      const submitted = await pods[0].submitMany(submissions);
      const results = await Promise.all(
        submitted.map(({ runId }, i) => pods[i % 2 === 0 ? 0 : 1].result(runId)),
      );
      expect(results.map(({ state, outputs }) => [state, outputs.copy])).toEqual(
        submitted.map(({ runId }) => ['succeeded', runId]),
      );
      const pids = await backends();
      expect(pids.length).toBeGreaterThan(1);
      expect(pids.length).toBeLessThanOrEqual(poolSize);
      expect(log.lines.filter(({ level }) => level === 'error')).toEqual([]);
    });

    test('a lease is renewed', async () => {
      await prepare();
      const pod = await lockkeeper();
      await pod.work({ leaseMs: 600 });
      const { runId } = await pod.submit('long');
      while (!started.has(runId)) await direct.execute('select', []);
      const expiry = async () =>
        (await direct.execute('select expires_at::text from lockkeeper.workers', [])).rows[0]?.expires_at;
      for (let renewals = 0, last = await expiry(); renewals < 4; ) {
        const now = await expiry();
        if (now !== last) renewals += 1;
        last = now;
      }
      hold.resolve();
      expect((await pod.result(runId)).state).toBe('succeeded');
      const { rows } = await direct.execute('select attempts, losses from lockkeeper.steps', []);
      expect(rows).toEqual([{ attempts: 1, losses: 0 }]);
    });

    test('a database is migrated', async () => {
      await prepare(true);
      expect((await migrateDatabase({ connectionString })).changed).toBe(true);
      expect((await migrateDatabase({ connectionString })).changed).toBe(false);
    });

    describe('where the role has repeatable read by default', () => {
      const setDefault = (level: string) =>
        direct.execute(
          `do $$ begin execute format('alter role current_user in database %I set default_transaction_isolation = %L',
             current_database(), '${level}'); end $$`,
          [],
        );

      test('the functions refuse, and say what to do', async () => {
        await prepare();
        await setDefault('repeatable read');
        const client = new pg.Client({ connectionString });
        await client.connect();
        const execute = executor(client);
        const refused = await execute('select * from lockkeeper.apply_limits($1)', ['[]']).catch(
          (error) => error,
        );
        await client.end();
        expect(refused).toBeInstanceOf(IsolationError);
        expect(refused).toMatchObject({
          code: 'LK001',
          message: 'transaction isolation is repeatable read, allowed is read committed',
          hint: expect.stringContaining('default_transaction_isolation'),
        });
      });

      test('what we set ourselves reaches one server connection only; set for the role, all is well', async () => {
        await prepare();
        await setDefault('repeatable read');
        const pod = await lockkeeper();
        const { pool } = pod.database;
        // Two clients, which were both set up over the same server connection; one then keeps that for itself.
        const clients = [await pool.connect(), await pool.connect()] as const;
        await clients[0].query('begin isolation level read committed');
        clients[1].release();
        await expect(pod.applyConfig({})).rejects.toThrow(IsolationError);
        await clients[0].query('rollback');
        clients[0].release();

        await setDefault('read committed');
        for (const pid of await backends())
          await direct.execute('select pg_terminate_backend($1, 5000)', [pid]);
        await pod.work();
        const { runId } = await pod.submit('load');
        expect((await pod.result(runId)).state).toBe('succeeded');
        expect(log.lines.filter(({ level }) => level === 'error')).toEqual([]);
      });
    });
  },
);
