/** A stage for nouns and races: leases without workers, and two connections of which one has its transaction open. */

import { afterAll, afterEach } from 'vitest';
import { coordinate, type Ticked } from '../../src/coordinator/tick.ts';
import { type Database, type Executor, executor } from '../../src/database.ts';
import { type AnyJob, definitionOf, jobFromDefinition } from '../../src/jobs.ts';
import { Lease } from '../../src/leases.ts';
import { applyConfig, type LimitChange } from '../../src/limits/apply.ts';
import { openQueue, type Queue } from '../../src/queue/boss.ts';
import { cancelRuns, submitRuns } from '../../src/runs.ts';
import type { Claimed } from '../../src/steps.ts';
import { testDatabase } from './database.ts';

/** What a race came to: both answers, and whether the second had to wait for the first to commit. */
export type Raced<A, B> = { first: A; second: B; waited: boolean };

/** `const stage = await openStage();` at the head of a file. After each test all runs are canceled, all leases closed. */
export async function openStage(): Promise<Stage> {
  const database = await testDatabase();
  const queue = await openQueue(database);
  const stage = new Stage(database, queue);
  afterAll(() => queue.close());
  afterEach(() => stage.clear());
  return stage;
}

export class Stage {
  readonly database: Database;
  readonly queue: Queue;
  readonly execute: Executor;
  /** Over which connection each lease speaks. */
  readonly #lines = new Map<Lease, { execute: Executor }>();

  constructor(database: Database, queue: Queue) {
    this.database = database;
    this.queue = queue;
    this.execute = database.execute;
  }

  async rows(text: string, values: unknown[] = []): Promise<Record<string, unknown>[]> {
    return (await this.execute(text, values)).rows;
  }

  /** Batches are cut at so many key locks in this database, so that few subjects are enough to see it. */
  async cutAt(locks: number): Promise<void> {
    await this.rows(
      `create or replace function lockkeeper_data.most_locks() returns int language sql immutable return ${locks}`,
    );
  }

  /** A registered job whose steps are data, as in a scenario file. */
  async register(name: string, steps: Record<string, unknown>): Promise<AnyJob> {
    const job = jobFromDefinition(name, { steps }, () => null);
    await this.rows('select lockkeeper.register($1)', [JSON.stringify(definitionOf(job))]);
    return job;
  }

  /** A lease that serves the jobs. */
  async serve(...jobs: AnyJob[]): Promise<Lease> {
    const versions = jobs.map((job) => ({ job: job.name, version: definitionOf(job).version }));
    const line = { execute: this.execute };
    const options = { worker: 'w', room: 100, leaseMs: 60_000, versions };
    const lease = await Lease.open((text, values) => line.execute(text, values), options);
    this.#lines.set(lease, line);
    return lease;
  }

  /** The lease, from now to the end of the race over another connection. */
  through(lease: Lease, execute: Executor): Lease {
    this.#lines.set(lease, Object.assign(this.#lines.get(lease) ?? {}, { execute }));
    return lease;
  }

  /** Submits a run of each job; answers their ids. */
  async submit(...jobs: AnyJob[]): Promise<string[]> {
    const submissions = jobs.map(({ name }) => ({ job: name }));
    return (await submitRuns(this.queue, this.execute, submissions)).map(({ runId }) => runId);
  }

  /**
   * Runs `first` in a transaction that stays open, starts `second` on another connection, sees whether that waits for
   * the first, and commits.
   */
  async race<A, B>(
    first: (execute: Executor) => Promise<A>,
    second: (execute: Executor) => Promise<B>,
  ): Promise<Raced<A, B>> {
    const one = await this.database.pool.connect();
    const two = await this.database.pool.connect();
    try {
      const pids = await Promise.all([pidOf(executor(one)), pidOf(executor(two))]);
      await one.query('begin isolation level read committed');
      const answer = await first(executor(one));
      let over = false;
      const later = second(executor(two)).finally(() => {
        over = true;
      });
      later.catch(() => undefined); // It is awaited below; until then a rejection must not count as unhandled.
      let waited = false;
      while (!over && !waited) waited = await blocks(this.execute, ...pids);
      await one.query('commit');
      return { first: answer, second: await later, waited };
    } finally {
      await one.query('rollback');
      one.release();
      two.release();
      for (const line of this.#lines.values()) line.execute = this.execute;
    }
  }

  tick(): Promise<Ticked> {
    return coordinate(this.database, this.queue);
  }

  apply(config: unknown, execute = this.execute): Promise<LimitChange[]> {
    return applyConfig(execute, config);
  }

  async inUse(): Promise<Record<string, number>> {
    const rows = await this.rows('select key, in_use from lockkeeper.keys where in_use > 0 order by key');
    return Object.fromEntries(rows.map(({ key, in_use }) => [key, Number(in_use)]));
  }

  async stateOf(runId: string): Promise<unknown> {
    return (await this.rows('select state from lockkeeper.runs where run_id = $1', [runId]))[0]?.state;
  }

  async stepsOf(runId: string): Promise<Record<string, unknown>> {
    const rows = await this.rows('select step, state from lockkeeper.steps where run_id = $1', [runId]);
    return Object.fromEntries(rows.map(({ step, state }) => [step, state]));
  }

  async clear(): Promise<void> {
    const rows = await this.rows('select run_id from lockkeeper.runs where ended_at is null');
    const runIds = rows.map(({ run_id }) => String(run_id));
    await cancelRuns(this.execute, runIds, true);
    for (const lease of this.#lines.keys()) await lease.close();
    this.#lines.clear();
    await this.tick();
    await this.apply({});
  }
}

/** Claims in every round until nothing more is granted. */
export async function claimAll(lease: Lease, n = 100): Promise<Claimed[]> {
  const all: Claimed[] = [];
  for (;;) {
    const { steps, more } = await lease.claim(n);
    all.push(...steps);
    if (!more) return all;
  }
}

async function pidOf(execute: Executor): Promise<number> {
  return Number((await execute('select pg_backend_pid() as pid', [])).rows[0]?.pid);
}

async function blocks(execute: Executor, first: number, second: number): Promise<boolean> {
  const { rows } = await execute('select $1::int = any (pg_blocking_pids($2::int)) as yes', [first, second]);
  return rows[0]?.yes === true;
}
