/**
 * docs/production.md, "Backup and restore": a copy of a database that was made while a step ran. With pg_dump where
 * there is one that fits the server, else with `create database … template`.
 */

import { execFileSync } from 'node:child_process';
import { randomBytes } from 'node:crypto';
import { rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, expect, inject, test } from 'vitest';
import { coordinate } from '../../src/coordinator/tick.ts';
import { type Database, openDatabase } from '../../src/database.ts';
import { definitionOf, job } from '../../src/jobs.ts';
import { Lease } from '../../src/leases.ts';
import { applyConfig } from '../../src/limits/apply.ts';
import { schemaVersion } from '../../src/migrate.ts';
import { openQueue } from '../../src/queue/boss.ts';
import { submitRuns } from '../../src/runs.ts';
import { cloneTemplate, type Template } from '../support/template.ts';

const leaseMs = 60_000;
const template = inject('template');
const copies: string[] = [];
const load = job('load', { pool: 'warehouse' }, () => null);
const version = { job: load.name, version: definitionOf(load).version };

async function onServer(text: string): Promise<Record<string, unknown>[]> {
  const server = openDatabase({ connectionString: template.url, max: 1 });
  try {
    return (await server.execute(text, [])).rows;
  } finally {
    await server.close();
  }
}

afterAll(async () => {
  for (const name of copies) await onServer(`drop database if exists ${name} with (force)`);
});

/** Whether there is a pg_dump that can read this server. */
async function hasDump(): Promise<boolean> {
  const [row] = await onServer("select current_setting('server_version_num')::int / 10000 as major");
  try {
    const said = execFileSync('pg_dump', ['--version'], { encoding: 'utf8' });
    return Number(/\d+/.exec(said)?.[0]) >= Number(row?.major);
  } catch {
    return false;
  }
}

async function copyOf(url: string, { prefix }: Template): Promise<string> {
  const name = `${prefix}_${randomBytes(6).toString('hex')}`;
  copies.push(name);
  const to = new URL(url);
  to.pathname = `/${name}`;
  if (!(await hasDump())) {
    await onServer(`create database ${name} template ${new URL(url).pathname.slice(1)}`);
    return to.href;
  }
  const file = join(tmpdir(), `${name}.dump`);
  try {
    await onServer(`create database ${name} template template0`);
    execFileSync('pg_dump', ['--format=custom', `--file=${file}`, url]);
    execFileSync('pg_restore', ['--exit-on-error', `--dbname=${to.href}`, file]);
  } finally {
    rmSync(file, { force: true });
  }
  return to.href;
}

/** A run whose step runs, one that waits for its slot, and a worker that is alive. */
async function startWork(url: string): Promise<string[]> {
  const database = openDatabase({ connectionString: url, max: 2 });
  const queue = await openQueue(database);
  try {
    await database.execute('select lockkeeper.stop_clock()', []);
    await database.execute('select lockkeeper.register($1)', [JSON.stringify(definitionOf(load))]);
    await applyConfig(database.execute, { concurrency: { pools: { limits: { warehouse: 1 } } } });
    const lease = await Lease.open(database.execute, { worker: 'w1', room: 5, leaseMs, versions: [version] });
    const submitted = await submitRuns(queue, database.execute, [{ job: 'load' }, { job: 'load' }]);
    await coordinate(database, queue);
    expect((await lease.claim(5)).steps).toHaveLength(1);
    return submitted.map(({ runId }) => runId);
  } finally {
    await queue.close();
    await database.close();
  }
}

async function statesOf(database: Database) {
  const { rows } = await database.execute(
    `select s.state, s.attempts, s.losses from lockkeeper.steps s order by run_id, place`,
    [],
  );
  return rows;
}

async function violations(database: Database) {
  return (await database.execute('select * from lockkeeper.violations', [])).rows;
}

test('what ran when the backup was made is lost a lease after the restore, and tried again', async () => {
  const clone = await cloneTemplate(template);
  const runIds = await startWork(clone.url);
  const url = await copyOf(clone.url, template);
  await clone.drop();

  const database = openDatabase({ connectionString: url, max: 2 });
  const queue = await openQueue(database);
  try {
    expect(await schemaVersion(database)).toBeGreaterThan(0);
    expect(await violations(database)).toEqual([]);

    // As on another server: the restored row names the start of the old one. The lease has run out meanwhile.
    await database.execute("update lockkeeper_data.server set started_at = '2020-01-01'", []);
    await database.execute('select lockkeeper.advance_clock($1)', [3_600]);
    await coordinate(database, queue);
    expect(await statesOf(database)).toMatchObject([{ state: 'running' }, { state: 'pending' }]);

    await database.execute('select lockkeeper.advance_clock($1)', [leaseMs / 1_000 + 1]);
    await coordinate(database, queue);
    expect(await statesOf(database)).toMatchObject([{ state: 'ready', losses: 1 }, { state: 'pending' }]);
    expect(await violations(database)).toEqual([]);

    const lease = await Lease.open(database.execute, { worker: 'w2', room: 5, leaseMs, versions: [version] });
    await coordinate(database, queue);
    expect((await lease.claim(5)).steps).toMatchObject([{ runId: runIds[0], attempt: 2 }]);
    expect(await violations(database)).toEqual([]);
  } finally {
    await queue.close();
    await database.close();
  }
});
