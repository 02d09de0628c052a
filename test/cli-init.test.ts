import {
  chmodSync,
  existsSync,
  mkdirSync,
  mkdtempSync,
  readFileSync,
  rmSync,
  statSync,
  writeFileSync,
} from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, beforeEach, describe, expect, test } from 'vitest';
import { readConfig } from '../src/index.ts';
import { cliOn, startCli } from './support/cli.ts';

const folders: string[] = [];
let folder = '';
beforeEach(() => {
  folder = mkdtempSync(join(tmpdir(), 'lockkeeper-init-'));
  chmodSync(folder, 0o755);
  folders.push(folder);
});
afterAll(() => {
  for (const each of folders) rmSync(each, { recursive: true });
});

const cli = cliOn(undefined);
const here = (file: string) => join(folder, file);
const read = (file: string) => readFileSync(here(file), 'utf8');
const changes = async (...args: string[]) => {
  const { json } = await cli(['init', folder, ...args, '--json']);
  return Object.fromEntries(
    (json.files as { file: string; change: string }[]).map(({ file, change }) => [file, change]),
  );
};

describe('init', () => {
  test('writes what a first run needs, and says what comes next', async () => {
    const said = await cli(['init', folder]);
    expect(said).toMatchObject({ code: 0, err: '' });
    expect(said.out).toMatch(
      /lockkeeper\.yaml +written\n[\s\S]*Next:\n {2}cd .*\n {2}npm install lockkeeper +so that/,
    );
    expect(said.out).toContain('npx lockkeeper dev');
    expect(() => readConfig(read('lockkeeper.yaml'))).not.toThrow();
    expect(read('.gitignore')).toBe('.lockkeeper/\n.env\n');
    expect(read('.env')).not.toMatch(/^[^#\n]/m);
    expect(statSync(here('.env')).mode & 0o777).toBe(0o600);
  });

  test('keeps what is there; --force overwrites all but .env, and says so', async () => {
    await changes();
    const kept = {
      'lockkeeper.yaml': 'kept',
      'lockkeeper.jobs.mjs': 'kept',
      '.env': 'kept',
      '.gitignore': 'kept',
    };
    writeFileSync(here('.env'), 'DATABASE_URL=postgres://mine');
    writeFileSync(here('lockkeeper.yaml'), 'concurrency: {}');
    expect(await changes()).toEqual(kept);
    expect(await changes('--force')).toEqual({
      ...kept,
      'lockkeeper.yaml': 'overwritten',
      'lockkeeper.jobs.mjs': 'overwritten',
    });
    expect(read('.env')).toBe('DATABASE_URL=postgres://mine');
    expect(read('lockkeeper.yaml')).toContain('max_concurrent_runs');
  });

  test('adds to a .gitignore what is missing, and leaves a jobs file of another name alone', async () => {
    writeFileSync(here('.gitignore'), 'node_modules\n/.env');
    writeFileSync(here('lockkeeper.jobs.ts'), 'export {};');
    expect(await changes('--force')).toMatchObject({
      '.gitignore': 'extended',
      'lockkeeper.jobs.ts': 'kept',
    });
    expect(read('.gitignore')).toBe('node_modules\n/.env\n.lockkeeper/\n');
    expect(existsSync(here('lockkeeper.jobs.mjs'))).toBe(false);
  });

  test('makes a directory, and asks for no install where Lockkeeper is found', async () => {
    folder = here('app');
    mkdirSync(join(folder, 'node_modules/lockkeeper'), { recursive: true });
    writeFileSync(
      join(folder, 'node_modules/lockkeeper/package.json'),
      '{"name":"lockkeeper","main":"index.js"}',
    );
    writeFileSync(join(folder, 'node_modules/lockkeeper/index.js'), '');
    const { json } = await cli(['init', folder, '--json']);
    expect(json.next).toEqual([`cd ${folder}`, 'npx lockkeeper dev', 'npx lockkeeper submit hello --wait']);
  });
});

test.each(['{}', '{"type":"module"}'])(
  'init, dev: a job runs by itself, and other commands find its database (package.json %s)',
  async (manifest) => {
    writeFileSync(here('package.json'), manifest);
    await cli(['init', folder]);
    const dev = startCli(['dev'], folder);
    await dev.until('Hello, stars!');
    expect(dev.out()).toContain('the firstRuns of lockkeeper.jobs.mjs are submitted');
    expect(dev.out()).not.toContain('postgres://');
    expect(statSync(here('.lockkeeper/dev')).mode & 0o777).toBe(0o700);
    const run = await startCli(['submit', 'hello', '--input', '{"name":"you"}', '--wait'], folder).ended();
    expect(run).toMatchObject({ code: 0, out: expect.stringContaining('write: "Hello, you!"') });
    expect((await startCli(['doctor'], folder).ended()).out).toContain(
      'of the `lockkeeper dev` that runs here',
    );
    dev.child.kill('SIGINT');
    expect(await dev.ended()).toMatchObject({ code: 0, err: '' });
    expect((await startCli(['runs', 'list'], folder).ended()).err).toContain('There is no database');
  },
  60_000,
);

test('a note of a `dev` that died counts for nothing', async () => {
  mkdirSync(here('.lockkeeper/dev'), { recursive: true });
  writeFileSync(here('.lockkeeper/dev/9'), '2147483646 1\npostgres://postgres:secret@127.0.0.1:1/postgres\n');
  const said = await startCli(['runs', 'list'], folder).ended();
  expect(said).toMatchObject({ code: 1, err: expect.stringContaining('There is no database') });
});
