/**
 * An arena: one small world (`world.sql`), connections that call, and others that hold a lock so that a call stops in its
 * middle. A case is a story: who comes first, where it is stopped, who comes meanwhile, who lets go. Afterwards all have ended
 * without an error, `violations` is empty, nobody sleeps beside room, and all runs go on to their ends.
 */

import { readFile } from 'node:fs/promises';
import type pg from 'pg';
import { afterAll } from 'vitest';
import type { Database } from '../../src/database.ts';
import { testDatabase } from '../support/database.ts';
import { rememberNew } from '../support/reset.ts';
import type { Call, Gate } from './calls.ts';

export type World = {
  /** SQL: what has happened in the world before each case. */
  before?: string;
  /** The join that all plans must use, over sequential scans; as planned, if left out. */
  join?: 'enable_hashjoin' | 'enable_mergejoin';
};

export type Case = {
  calls: readonly Call[];
  /** Which locks are held, in the order in which they are let go. None: the first call stays open, and is committed. */
  at: readonly Gate[];
};

export type Judged = {
  /** What is wrong, in words. */
  wrong: string[];
  /** How the world is once nothing moves. */
  settled: string;
};

/** A call on its way. */
type Started = { call: Call; pid: number; over: Promise<void>; ended: boolean; error: string | undefined };
type Line = { client: pg.PoolClient; pid: number };

/** `const arena = await openArena();` at the head of a file. */
export async function openArena(world: World = {}): Promise<Arena> {
  const database = await testDatabase({ max: 10 });
  for (const name of ['world', 'judge'])
    await database.pool.query(await readFile(`${import.meta.dirname}/${name}.sql`, 'utf8'));
  await database.pool.query('call races.build()');
  if (world.before) await database.pool.query(world.before);
  await rememberNew(database);
  if (world.join) await database.pool.query(`call races.plan_with('${world.join}')`);
  const lines = await Promise.all(Array.from({ length: 6 }, () => openLine(database, world)));
  afterAll(() => {
    for (const { client } of lines) client.release();
  });
  return new Arena(database, world, lines);
}

/** Whether all is to be played. */
export const whole = process.env.RACES === 'all';

export class Arena {
  readonly database: Database;
  readonly #world: World;
  /** Looks on, and plays what happens before and after. */
  readonly #judge: pg.PoolClient;
  readonly #callers: Line[];
  readonly #holders: pg.PoolClient[];
  #cases = 0;

  constructor(database: Database, world: World, [judge, ...others]: Line[]) {
    this.database = database;
    this.#world = world;
    this.#judge = (judge as Line).client;
    this.#callers = others.slice(0, 3);
    this.#holders = others.slice(3).map(({ client }) => client);
  }

  /** Whether the call comes to wait at the gate. */
  async stopsAt(call: Call, gate: Gate): Promise<boolean> {
    await this.#reset();
    await this.#hold([gate]);
    const started = this.#start(0, call);
    const stopped = await this.#stopped(started);
    await this.#holders[0]?.query('commit');
    await started.over;
    return stopped;
  }

  async play({ calls, at }: Case): Promise<Judged> {
    await this.#reset();
    await this.#hold(at);
    const [first] = this.#callers as [Line];
    if (at.length === 0) await first.client.query('begin isolation level read committed');
    const started: Started[] = [];
    for (const [i, call] of calls.entries()) {
      const one = this.#start(i, call);
      started.push(one);
      await this.#stopped(one);
    }
    if (at.length === 0) await first.client.query('commit');
    for (const i of at.keys()) await this.#holders[i]?.query('commit');
    await Promise.all(started.map(({ over }) => over));
    // Whoever was lost is mostly found at once; to play on to the end of all runs takes as long as all before.
    const { wrong, settled } = await this.#judged(whole || this.#cases % 3 === 0);
    return { wrong: [...started.flatMap(errorOf), ...wrong], settled };
  }

  /** One after the other: how the world may look after a race. */
  async inOrder(...calls: Call[]): Promise<string> {
    await this.#reset();
    for (const call of calls) await this.#start(0, call).over;
    return (await this.#judged(false)).settled;
  }

  async #reset(): Promise<void> {
    this.#cases += 1;
    if (this.#world.join) await this.#judge.query(`call races.shuffle('${this.#cases}')`);
    await this.#judge.query('select lockkeeper_testing.reset()');
  }

  async #hold(at: readonly Gate[]): Promise<void> {
    for (const [i, { sql }] of at.entries()) {
      await this.#holders[i]?.query('begin isolation level read committed');
      await this.#holders[i]?.query(sql);
    }
  }

  #start(i: number, call: Call): Started {
    const { client, pid } = this.#callers[i] as Line;
    const started: Started = { call, pid, over: Promise.resolve(), ended: false, error: undefined };
    started.over = client.query(call.sql).then(
      () => {
        started.ended = true;
      },
      ({ code, message }: Error & { code?: string }) => {
        started.ended = true;
        started.error = `${code} ${message}`;
      },
    );
    return started;
  }

  /** Waits until it has ended or waits for a lock: whether it waits. */
  async #stopped(started: Started): Promise<boolean> {
    while (!started.ended) {
      const look = "select pg_blocking_pids($1) <> '{}' as stopped";
      if ((await this.#judge.query(look, [started.pid])).rows[0].stopped) return true;
    }
    return false;
  }

  async #judged(toItsEnd: boolean): Promise<Judged> {
    return (await this.#judge.query(`call races.judge(${toItsEnd})`)).rows[0];
  }
}

/** `admit is stopped at the run scan1; force comes` */
export function story({ calls: [first, ...others], at: [gate, ...gates] }: Case): string {
  const where = gate ? `is stopped at ${gate.name}` : 'is not committed';
  const also = gates.map(({ name }) => `; ${name} is held too`).join('');
  return `${first?.name} ${where}${also}; ${others.map(({ name }) => `${name} comes`).join('; ')}`;
}

function errorOf({ call, error }: Started): string[] {
  return !error || call.refused?.some((code) => error.startsWith(code)) ? [] : [`${call.name}: ${error}`];
}

async function openLine(database: Database, { join }: World): Promise<Line> {
  const client = await database.pool.connect();
  // A deadlock is found at once where the role may say so; nothing here must survive a crash.
  await client.query(`set synchronous_commit = off; select set_config('deadlock_timeout', '20ms', false)
    where has_parameter_privilege('deadlock_timeout', 'set')`);
  if (join) await client.query(`call races.plan_session_with('${join}')`);
  const { rows } = await client.query('select pg_backend_pid() as pid');
  return { client, pid: Number(rows[0].pid) };
}
