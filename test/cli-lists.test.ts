import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, describe, expect, test } from 'vitest';
import { createLockkeeper, job } from '../src/index.ts';
import { cliOn } from './support/cli.ts';
import { testDatabase } from './support/database.ts';

const database = await testDatabase();
const cli = cliOn(database.connectionString);
const folder = mkdtempSync(join(tmpdir(), 'lockkeeper-cli-'));
const file = (name: string, text: string) => {
  writeFileSync(join(folder, name), text);
  return join(folder, name);
};

const silent = { debug() {}, info() {}, warn() {}, error() {} };
let broken = true;
/** Its second step fails as long as `broken` is. */
const load = job('load')
  .step('extract', () => ({ rows: 3 }))
  .step('copy', { after: ['extract'], pool: 'warehouse' }, () => {
    if (broken) throw new Error('the warehouse is closed');
    return 'copied';
  });
const lockkeeper = await createLockkeeper({
  connectionString: database.connectionString,
  jobs: [load, job('ping', () => 'pong')],
  log: silent,
});
await lockkeeper.register();
afterAll(async () => {
  await lockkeeper.close();
  rmSync(folder, { recursive: true });
});

type Run = { run_id: string; created: boolean; state?: string };
const submit = async (...args: string[]) => {
  const { json } = await cli(['submit', ...args, '--json']);
  return (json.runs as [Run])[0];
};
const shown = async (id: string) => (await cli(['runs', 'show', id, '--json'])).json.run;

describe('jobs, workers, steps', () => {
  test('jobs: with versions, pools and who serves them', async () => {
    const { json } = await cli(['jobs', '--json']);
    expect(json.jobs).toMatchObject([
      { job: 'load', steps: 2, pools: { warehouse: 1 }, live_workers: 0 },
      { job: 'ping', steps: 1, pools: {}, live_workers: 0 },
    ]);
    expect((await cli(['jobs', 'list'])).out).toMatch(/load +[0-9a-f]{12} +2 +warehouse=1 +0/);
  });

  test('workers: nobody, and then one; steps with every attempt', async () => {
    expect(await cli(['workers'])).toMatchObject({ code: 0, out: 'No worker lives: no step starts.' });
    const working = await lockkeeper.work({ name: 'w1', room: 4 });
    expect((await cli(['workers', 'list', '--json'])).json.workers).toMatchObject([
      { worker: 'w1', live: true, room: 4, jobs: ['load', 'ping'] },
    ]);
    expect((await cli(['jobs', '--json'])).json.jobs).toMatchObject([
      { live_workers: 1 },
      { live_workers: 1 },
    ]);
    const { run_id } = await submit('load');
    const waited = await cli(['submit', 'ping', '--wait', '--json']);
    expect(waited.json.runs).toMatchObject([{ state: 'succeeded', outputs: { run: 'pong' } }]);
    await lockkeeper.result(run_id);
    const { json, code } = await cli(['steps', run_id, '--json']);
    expect(code).toBe(0);
    expect(json).toMatchObject({
      run_id,
      steps: [
        { step: 'extract', state: 'succeeded' },
        { step: 'copy', state: 'failed' },
      ],
      attempts: [
        { step: 'extract', attempt: 1, outcome: 'succeeded', worker: 'w1', error: null },
        { step: 'copy', attempt: 1, outcome: 'failed', error: { message: 'the warehouse is closed' } },
      ],
    });
    const { out } = await cli(['steps', run_id]);
    expect(out).toMatch(/copy +failed .*w1 +Error: the warehouse is closed/);
    expect((await cli(['steps', '999999'])).err).toContain('There is no run 999999.');
    await working.stop();
  });
});

describe('runs retry', () => {
  test('does what had not succeeded, in a new run', async () => {
    const working = await lockkeeper.work({ name: 'w2' });
    broken = true;
    const { run_id } = await submit('load');
    await lockkeeper.result(run_id);
    broken = false;
    const { code, json } = await cli(['runs', 'retry', run_id, '--json']);
    expect(code).toBe(0);
    const [{ new_run_id }] = json.runs as [{ new_run_id: string }];
    expect(json.runs).toEqual([{ run_id, new_run_id: expect.any(String), state: 'failed' }]);
    expect((await lockkeeper.result(new_run_id)).outputs).toEqual({ extract: { rows: 3 }, copy: 'copied' });
    expect(await shown(new_run_id)).toMatchObject({ retry_of: run_id, state: 'succeeded' });
    expect(await cli(['runs', 'retry', new_run_id])).toMatchObject({
      code: 1,
      out: `Run ${new_run_id} succeeded: there is nothing to retry.`,
    });
    expect((await cli(['runs', 'retry', '999999'])).err).toContain('There is no run 999999.');
    await working.stop();
  });
});

describe('runs priority', () => {
  test('of queued runs only', async () => {
    const [first, second] = [await submit('ping'), await submit('ping')];
    const said = await cli(['runs', 'priority', first.run_id, second.run_id, '7', '--json']);
    expect(said).toMatchObject({ code: 0, json: { runs: [{ state: 'queued' }, { state: 'queued' }] } });
    expect(await shown(second.run_id)).toMatchObject({ priority: 7 });
    expect((await cli(['runs', 'priority', first.run_id, '--', '-5'])).out).toBe(
      `Run ${first.run_id} has priority -5.`,
    );
    await cli(['runs', 'cancel', first.run_id, second.run_id]);
    expect(await cli(['runs', 'priority', first.run_id, '1'])).toMatchObject({
      code: 1,
      out: expect.stringContaining('is canceled: only a queued run'),
    });
    for (const wrong of [[first.run_id], ['x', '7'], [first.run_id, 'high']])
      expect((await cli(['runs', 'priority', ...wrong])).code).toBe(2);
  });
});

describe('submit', () => {
  test('with a branch, a start and deadlines', async () => {
    const { run_id } = await submit(
      ...['ping', '--branch', 'pr-9', '--start-at', '2099-01-01T00:00:00Z'],
      ...['--queue-timeout', '30m', '--timeout', '1.5h'],
    );
    expect(await shown(run_id)).toMatchObject({
      deployment: 'pr-9',
      deployment_kind: 'branch',
      start_at: '2099-01-01T00:00:00.000Z',
      queue_timeout_ms: 1_800_000,
      timeout_ms: 5_400_000,
    });
    expect((await cli(['submit', 'ping', '--timeout', '5'])).err).toContain('such as 90s');
    expect((await cli(['submit', 'ping', '--start-at', 'tomorrow'])).err).toContain('start_at');
    const both = await cli(['submit', 'ping', '--branch', 'pr-9', '--deployment', 'default']);
    expect(both).toMatchObject({ code: 1, err: expect.stringContaining('branch') });
    await cli(['runs', 'cancel', run_id]);
  });

  test('JSON lines go in batches, however many; a run with a key is made once', async () => {
    const lines = Array.from({ length: 1_100 }, (_, i) => `{ "job": "ping", "key": "line ${i}" }`);
    const path = file('runs.jsonl', `${lines.join('\n')}\n\n`);
    expect((await cli(['submit', '--file', path])).out).toMatch(/^1100 runs, \d+ to \d+: 1100 submitted\.$/);
    expect((await cli(['submit', '--file', path])).out).toMatch(/: 1100 there already\.$/);
    await database.execute(
      `select count(*) from lockkeeper.cancel(array(select run_id from lockkeeper.runs where state = 'queued'))`,
      [],
    );
  });

  test.each([
    ['{"job":"ping"}\n{"job":"ping",}\n', /Line 2 of \S+: This is no JSON/],
    ['{"job":"ping"}\n\n{"job":"ping","priority":"x"}', /Line 3 of \S+: priority: "x" is not allowed/],
    ['{"job":"ping"}\n{"job":"pong"}', /Line 2 of \S+: job "pong" is not registered/],
    ['{"job":"ping"}\n{"job":"ping","deployment":"moon"}', /Line 2 of \S+: deployment "moon" does not exist/],
    ['[{"job":"ping"},\n{"job":"ping"}', /This is no JSON/],
  ])('%j names the line, and submits nothing', async (text, message) => {
    const count = async () => (await database.execute('select count(*) from lockkeeper.runs', [])).rows;
    const before = await count();
    const said = await cli(['submit', '--file', '-'], text);
    expect(said).toMatchObject({ code: 1, out: '', err: expect.stringMatching(message) });
    expect(await count()).toEqual(before);
  });
});

describe('deployments delete', () => {
  test('refuses while it has live runs, or cancels the queued ones', async () => {
    const { run_id } = await submit('ping', '--branch', 'pr-1');
    const refused = await cli(['deployments', 'delete', 'pr-1']);
    expect(refused).toMatchObject({ code: 1, err: expect.stringContaining('1 runs that have not ended') });
    const said = await cli(['deployments', 'delete', 'pr-1', '--queued', 'cancel', '--json']);
    expect(said.json).toEqual({ deployment: 'pr-1', canceled: 1 });
    expect(await shown(run_id)).toMatchObject({ state: 'canceled' });
    const names = async (...more: string[]) =>
      (
        (await cli(['deployments', 'list', '--json', ...more])).json.deployments as { deployment: string }[]
      ).map(({ deployment }) => deployment);
    expect(await names()).not.toContain('pr-1');
    expect(await names('--all')).toContain('pr-1');
    expect((await cli(['submit', 'ping', '--deployment', 'pr-1'])).code).toBe(1);
    expect((await cli(['deployments', 'delete', 'pr-1', '--queued', 'burn'])).code).toBe(2);
    expect((await cli(['deployments', 'delete', 'nowhere'])).err).toContain('"nowhere" does not exist');
  });
});
