import { chmodSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, expect, test } from 'vitest';
import { cliOn, startCli } from './support/cli.ts';
import { testDatabase } from './support/database.ts';

const database = await testDatabase();
const url = database.connectionString;
const cli = cliOn(url);

const folder = mkdtempSync(join(tmpdir(), 'lockkeeper-cli-'));
afterAll(() => rmSync(folder, { recursive: true }));

const library = new URL('../src/index.ts', import.meta.url).href;
writeFileSync(
  join(folder, 'lockkeeper.jobs.ts'),
  `import { job } from '${library}';
   // Ends when the worker is told to stop: the drain waits for it.
   export const patient = job('patient', ({ log }: { log: { info(text: string): void } }) => new Promise((resolve) => {
     process.once('SIGTERM', () => resolve('drained'));
     log.info('the patient step runs');
   }));
   export default [job('deaf', ({ log }) => { log.info('the deaf step runs'); return new Promise(() => {}); })];
   export const notAJob = 42;`,
);

const submit = async (job: string) => {
  const { json } = await cli(['submit', job, '--json']);
  return (json.runs as [{ run_id: string }])[0].run_id;
};

test('a worker drains on SIGTERM: what runs is finished, nothing is left, exit 0', async () => {
  const worker = startCli(['worker', '--room', '3', '--name', 'w1'], folder, { DATABASE_URL: url });
  await worker.until('lockkeeper runs');
  const id = await submit('patient');
  await worker.until('the patient step runs');
  worker.child.kill('SIGTERM');
  expect(await worker.ended()).toMatchObject({ code: 0, err: '', out: expect.stringContaining('stopped') });
  const { run, steps } = (await cli(['runs', 'show', id, '--json'])).json;
  expect(run).toMatchObject({ state: 'succeeded' });
  expect(steps).toMatchObject([{ output: 'drained', worker: 'w1' }]);
  const live = await database.execute('select 1 from lockkeeper.workers where live', []);
  expect(live.rows).toEqual([]);
});

test('a second signal ends it at once with 1; its log is JSON', async () => {
  const args = ['worker', '--json', '--grace-ms', '600000', '--lease-ms', '60000'];
  const worker = startCli(args, folder, { DATABASE_URL: url });
  await worker.until('lockkeeper runs');
  const id = await submit('deaf');
  await worker.until('the deaf step runs');
  worker.child.kill('SIGINT');
  await worker.until('stopping');
  worker.child.kill('SIGINT');
  const { code, out } = await worker.ended();
  expect(code).toBe(1);
  const lines = out
    .trim()
    .split('\n')
    .map((each) => JSON.parse(each));
  expect(lines).toContainEqual(expect.objectContaining({ jobs: ['deaf', 'patient'], coordinator: true }));
  await cli(['runs', 'cancel', id, '--force']);
});

test('a coordinator starts without jobs and ends with 0', async () => {
  const coordinator = startCli(['coordinator'], folder, { DATABASE_URL: url });
  await coordinator.until('lockkeeper runs');
  coordinator.child.kill('SIGINT');
  expect(await coordinator.ended()).toMatchObject({ code: 0, err: '' });
});

test('dev uses DATABASE_URL, applies lockkeeper.yaml and runs the jobs', async () => {
  const yaml = join(folder, 'lockkeeper.yaml');
  writeFileSync(yaml, 'concurrency: { runs: { max_concurrent_runs: 1 } }');
  const dev = startCli(['dev'], folder, { DATABASE_URL: url });
  await dev.until('lockkeeper runs');
  rmSync(yaml);
  const { json } = await cli(['limits', 'list', '--json']);
  expect(json.limits).toContainEqual(expect.objectContaining({ name: 'runs', capacity: 1 }));
  dev.child.kill('SIGINT');
  const { code, out } = await dev.ended();
  expect(code).toBe(0);
  expect(out).not.toContain(url);
});

test('dev without DATABASE_URL starts a Postgres of its own, and stops it', async () => {
  const empty = mkdtempSync(join(tmpdir(), 'lockkeeper-dev-'));
  chmodSync(empty, 0o755);
  try {
    const dev = startCli(['dev', '--print-url', '--json'], empty);
    await dev.until('lockkeeper runs');
    await dev.until('database_url');
    const lines = dev.out().trim().split('\n');
    const { database_url } = lines.map((each) => JSON.parse(each)).find((each) => 'database_url' in each);
    expect((await cliOn(database_url)(['deployments', 'list'])).code).toBe(0);
    dev.child.kill('SIGINT');
    expect((await dev.ended()).code).toBe(0);
    expect((await cliOn(database_url)(['deployments', 'list'])).err).toContain('cannot be reached');
  } finally {
    rmSync(empty, { recursive: true });
  }
});

test('.env in the working directory is read; the environment goes first', async () => {
  writeFileSync(join(folder, '.env'), `DATABASE_URL=${url}\n`);
  expect(await startCli(['deployments', 'list', '--json'], folder).ended()).toMatchObject({ code: 0 });
  const other = { DATABASE_URL: 'postgres://me@127.0.0.1:1/none' };
  const refused = await startCli(['runs', 'list'], folder, other).ended();
  rmSync(join(folder, '.env'));
  expect(refused).toMatchObject({ code: 1, err: expect.stringContaining('cannot be reached') });
  const none = await startCli(['runs', 'list'], folder).ended();
  expect(none).toMatchObject({
    code: 1,
    err: expect.stringContaining('set DATABASE_URL, or run `lockkeeper dev`'),
  });
});

test('a job file that is wrong says what is wrong with it', async () => {
  const worker = (...args: string[]) => cli(['worker', ...args]);
  const file = (name: string, text: string) => {
    writeFileSync(join(folder, name), text);
    return join(folder, name);
  };
  expect((await worker('--jobs', join(folder, 'none.ts'))).err).toContain('there is no file');
  expect((await worker('--jobs', file('no.mjs', 'export const a = 1;'))).err).toContain('exports no job');
  expect((await worker('--jobs', file('broken.mjs', "throw new Error('no way');"))).err).toMatch(
    /broken\.mjs cannot be loaded: no way\nhint: It happened at .*broken\.mjs:1/,
  );
  const twice = `import { job } from '${library}'; export const a = job('x', () => 1); export const b = job('x', () => 2);`;
  expect((await worker('--jobs', file('twice.mjs', twice))).err).toContain('two jobs named "x"');
});
