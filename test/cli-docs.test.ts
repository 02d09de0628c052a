/** docs/commands.md and every command's help say what the commands really do and print. */

import { mkdtempSync, readFileSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, describe, expect, test } from 'vitest';
import { commandLine, commandsPage, leavesOf, nameOf } from '../scripts/docs/commands.ts';
import { explanationOf } from '../src/cli/help.ts';
import { createLockkeeper, job } from '../src/index.ts';
import { cliOn } from './support/cli.ts';
import { emptyDatabase } from './support/database.ts';

const commands = leavesOf(commandLine());

test('docs/commands.md is what `npm run docs` writes', () => {
  const written = readFileSync(`${import.meta.dirname}/../docs/commands.md`, 'utf8');
  expect(written, 'run `npm run docs`: docs/commands.md is of another state of src/cli').toBe(commandsPage());
});

test.each(commands.map((command) => [nameOf(command), command] as const))(
  '%s is explained: with examples that are command lines of its own',
  (name, command) => {
    const { examples = [], json } = explanationOf(command) ?? {};
    expect(examples.length).toBeGreaterThan(0);
    // `jobs` is short for `jobs list`.
    const own = [name, name.replace(/ list$/, '')];
    expect(examples.filter((each) => !own.some((start) => `${each} `.startsWith(`${start} `)))).toEqual([]);
    expect(json).toBeTruthy();
    expect(command.description()).toBeTruthy();
    const known = command.options.flatMap(({ long }) => long ?? []);
    const used = examples.flatMap((each) => each.match(/(?<= )--[a-z][a-z-]*/g) ?? []);
    expect(used.filter((option) => ![...known, '--json'].includes(option))).toEqual([]);
  },
);

describe('what --json prints has exactly the keys that are documented:', async () => {
  const database = await emptyDatabase();
  const cli = cliOn(database.connectionString);
  const folder = mkdtempSync(join(tmpdir(), 'lockkeeper-cli-'));
  const silent = { debug() {}, info() {}, warn() {}, error() {} };
  await cli(['migrate']);
  const lockkeeper = await createLockkeeper({
    connectionString: database.connectionString,
    jobs: [job('ping', { pool: 'warehouse' }, () => 'pong')],
    log: silent,
  });
  await lockkeeper.applyConfig({ concurrency: { pools: { limits: { warehouse: 5 } } } });
  await lockkeeper.startWorker({ name: 'w1' });
  await cli(['submit', 'ping']);
  await cli(['submit', 'ping']);
  afterAll(async () => {
    await lockkeeper.close();
    rmSync(folder, { recursive: true });
  });

  test.each([
    ['init', ['init', folder]],
    ['migrate', ['migrate']],
    ['doctor', ['doctor']],
    ['submit', ['submit', 'ping']],
    ['runs list', ['runs', 'list']],
    ['runs show', ['runs', 'show', '1']],
    ['steps', ['steps', '1']],
    ['why', ['why', '2']],
    ['limits list', ['limits', 'list']],
    ['runs cancel', ['runs', 'cancel', '1']],
    ['runs retry', ['runs', 'retry', '1']],
    ['runs priority', ['runs', 'priority', '2', '5']],
    ['jobs list', ['jobs', 'list']],
    ['workers list', ['workers', 'list']],
    ['deployments list', ['deployments', 'list']],
    ['deployments add', ['deployments', 'add', 'pr-17', '--kind', 'branch']],
    ['deployments delete', ['deployments', 'delete', 'pr-17']],
    ['uninstall', ['uninstall']],
  ])('%s', async (name, args) => {
    const command = commands.find((each) => nameOf(each) === name);
    const documented = firstValue((command && explanationOf(command)?.json) ?? '');
    const { json, err } = await cli([...args, '--json']);
    expect(err === '' || name === 'uninstall', err).toBe(true);
    const nothing = emptyIn(json);
    const expected = keysOf(documented).filter((key) => !nothing.some((path) => key.startsWith(path)));
    expect(keysOf(json)).toEqual(expected);
  });
});

/** The JSON that a text begins with. */
function firstValue(text: string): unknown {
  for (let end = text.indexOf('}'); end >= 0; end = text.indexOf('}', end + 1)) {
    try {
      return JSON.parse(text.slice(0, end + 1));
    } catch {
      // It goes on.
    }
  }
  throw new Error(`no JSON: ${text}`);
}

/** Names that the user chooses: what is in there is no key of ours. */
const theirs = new Set(['tags', 'pools', 'match', 'outputs', 'errors']);

/** The paths of all keys; of a list, those of its first member. */
function keysOf(value: unknown, path = ''): string[] {
  if (Array.isArray(value)) return value.length === 0 ? [] : keysOf(value[0], `${path}[]`);
  if (typeof value !== 'object' || value === null) return [];
  return Object.entries(value)
    .flatMap(([key, each]) => [`${path}.${key}`, ...(theirs.has(key) ? [] : keysOf(each, `${path}.${key}`))])
    .toSorted();
}

/** Where nothing was printed, so that there are no keys to compare below. */
function emptyIn(value: unknown, path = ''): string[] {
  if (value === null) return [`${path}.`];
  if (Array.isArray(value)) return value.length === 0 ? [`${path}[]`] : emptyIn(value[0], `${path}[]`);
  if (typeof value !== 'object') return [];
  return Object.entries(value).flatMap(([key, each]) => emptyIn(each, `${path}.${key}`));
}
