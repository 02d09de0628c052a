/** A worker's process is killed: its slots are free, and its step runs elsewhere, within its lease and 2 s. */

import { type ChildProcess, spawn } from 'node:child_process';
import { once } from 'node:events';
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, expect, test } from 'vitest';
import { createLockkeeper, job } from '../src/index.ts';
import { testDatabase } from './support/database.ts';
import { keepingLog } from './support/log.ts';

const database = await testDatabase();
const lockkeeper = (jobs: ReturnType<typeof job>[]) =>
  createLockkeeper({ connectionString: database.connectionString, jobs, log: keepingLog() });
const again = Promise.withResolvers<number>();
const load = job('load', { pool: 'api' }, ({ attempt }) => again.resolve(attempt));
const other = await lockkeeper([load]);
const folder = mkdtempSync(join(tmpdir(), 'lockkeeper-dead-'));
let child: ChildProcess | undefined;
afterAll(async () => {
  child?.kill('SIGKILL');
  rmSync(folder, { recursive: true, force: true });
  await other.close();
});

const source = new URL('../src/index.ts', import.meta.url).href;
const program = `
  const { createLockkeeper, job } = await import(${JSON.stringify(source)});
  const log = { debug() {}, info() {}, warn() {}, error() {} };
  const load = job('load', { pool: 'api' }, () => {
    console.log('started');
    return new Promise(() => {});
  });
  const lockkeeper = await createLockkeeper({ connectionString: ${JSON.stringify(database.connectionString)}, jobs: [load], log });
  await lockkeeper.work({ name: 'killed', leaseMs: 2000 });`;

test('kill -9', async () => {
  await other.limits.apply({ concurrency: { pools: { limits: { api: 1 } } } });
  const file = join(folder, 'worker.mjs');
  writeFileSync(file, program);
  child = spawn(process.execPath, [file], { stdio: ['ignore', 'pipe', 'inherit'] });
  const output = child.stdout;
  if (!output) throw new Error('the worker has no output');
  const begun = once(output, 'data');
  await (await other.startWorker({ name: 'first' })).stop(); // Registers the job.
  const { runId } = await other.submit(load);
  await begun;
  await other.work({ name: 'other' });
  const [killed] = (await database.execute('select clock_timestamp()::text as at', [])).rows;
  child.kill('SIGKILL');
  expect(await again.promise).toBe(2);
  // Its slots are free from the moment on at which its attempt has ended.
  const { rows } = await database.execute(
    `select outcome, extract(epoch from ended_at - $2::timestamptz)::float8 as seconds
     from lockkeeper.attempts where run_id = $1 and attempt = 1`,
    [runId, killed?.at],
  );
  expect(rows).toMatchObject([{ outcome: 'lost' }]);
  expect(Number(rows[0]?.seconds)).toBeLessThan(2 + 2);
});
