/** The databases of the test kit: one for each kit, cloned from a template that is made once. */

import { expect, inject, test } from 'vitest';
import { openDatabase } from '../src/database.ts';
import { job } from '../src/index.ts';
import { testLockkeeper } from '../src/testing/index.ts';
import { cloneTemplate, createTemplate, dropTemplate, sharedTemplate } from '../src/testing/template.ts';

const server = inject('template').url;
const ping = job('ping', () => undefined);

async function onServer(text: string, values: unknown[] = []) {
  const database = openDatabase({ connectionString: server, max: 1 });
  try {
    return (await database.execute(text, values)).rows;
  } finally {
    await database.close();
  }
}

const exists = async (name: string) =>
  (await onServer('select from pg_database where datname = $1', [name])).length === 1;

test('a kit has one of its own, and drops it', async () => {
  let name = '';
  {
    await using kit = await testLockkeeper({ jobs: [ping], server });
    await using other = await testLockkeeper({ jobs: [ping], server });
    expect(other.connectionString).not.toBe(kit.connectionString);
    name = new URL(kit.connectionString).pathname.slice(1);
    expect(await exists(name)).toBe(true);
    const run = await kit.submit(ping);
    await kit.settle();
    await other.settle();
    expect((await kit.result(run)).outputs.run).toBe(null);
    await kit.close(); // And once more at the end of the block.
  }
  expect(await exists(name)).toBe(false);
});

test('the template is made once for all', async () => {
  const templates = await Promise.all([1, 2, 3].map(() => sharedTemplate(server)));
  expect(new Set(templates.map(({ name }) => name)).size).toBe(1);
  const clone = await cloneTemplate(await sharedTemplate(server));
  const migrated = openDatabase({ connectionString: clone.url, max: 1 });
  expect((await migrated.execute('select * from lockkeeper.violations', [])).rows).toEqual([]);
  await migrated.close();
  await clone.drop();
});

test('what fails while it opens leaves no database behind', async () => {
  const { prefix } = await sharedTemplate(server);
  const hash = prefix.split('_')[3] ?? '';
  const clones = () => onServer('select datname from pg_database where datname like $1', [`%\\_${hash}\\_%`]);
  const before = await clones();
  await expect(testLockkeeper({ jobs: [job('empty')], server })).rejects.toThrow(/step/);
  // Kits of other test files come meanwhile: they are connected soon, what was left behind never is.
  const orphans = async () => {
    const now = await clones();
    const used = await onServer('select distinct datname from pg_stat_activity');
    const known = [...before, ...used].map(({ datname }) => datname);
    return now.filter(({ datname }) => !known.includes(datname));
  };
  await expect.poll(orphans, { timeout: 10_000 }).toEqual([]);
});

test('what was left behind goes after a day', async () => {
  const [old, young] = ['lockkeeper_test_202001010000_left', `lockkeeper_test_299901010000_left`];
  for (const name of [old, young]) await onServer(`create database ${name}`);
  const template = await createTemplate({ url: server });
  expect([await exists(old), await exists(young), await exists(template.name)]).toEqual([false, true, true]);
  await onServer(`drop database ${young}`);
  await dropTemplate(template);
  expect(await exists(template.name)).toBe(false);
});

test('an address that is none', async () => {
  await expect(testLockkeeper({ jobs: [ping], server: 'nonsense' })).rejects.toThrow(
    'The connection string is not a postgres:// address.',
  );
});
