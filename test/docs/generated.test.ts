/** Generated pages are what `npm run docs` would write, and leave nothing out. */

import { readFileSync } from 'node:fs';
import { describe, expect, test } from 'vitest';
import { configurationPage } from '../../scripts/docs/configuration.ts';
import { optionsIn, variablesIn } from '../../scripts/docs/options.ts';
import { namesIn, settingsIn } from '../../scripts/docs/settings.ts';
import { sqlReferencePage } from '../../scripts/docs/sql-reference.ts';
import { configSchema } from '../../src/config.ts';
import { stepSchema } from '../../src/jobs/definition.ts';
import { submissionSchema } from '../../src/schema.ts';
import { testDatabase } from '../support/database.ts';
import { root } from './blocks.ts';

const textOf = (path: string) => readFileSync(new URL(path, root), 'utf8');
const snakeCase = (name: string) => name.replaceAll(/[A-Z]/g, (letter) => `_${letter.toLowerCase()}`);

describe('docs/configuration.md', () => {
  test('is what `npm run docs` writes', () => {
    expect(textOf('docs/configuration.md')).toBe(configurationPage());
  });

  test('every setting has a text', () => {
    const settings = settingsIn(configSchema);
    expect(settings.length).toBeGreaterThan(15);
    expect(settings.filter(({ description }) => description === '').map(({ path }) => path)).toEqual([]);
  });

  test('the options of a submission are the fields that are accepted', () => {
    const options = optionsIn(textOf('src/schema.ts'), 'SubmitOptions').map(({ name }) => snakeCase(name));
    expect([...options, 'job', 'input'].toSorted()).toEqual(namesIn(submissionSchema).toSorted());
  });

  test('the options of a step are the fields that are accepted', () => {
    const text = textOf('src/jobs/types.ts');
    const options = [...optionsIn(text, 'StepOptions'), ...optionsIn(text, 'RetryOptions')].map(({ name }) =>
      snakeCase(name),
    );
    const fields = options
      .filter((name) => name !== 'retry')
      .map((name) => name.replace('timeout_seconds', 'timeout'));
    expect(fields.toSorted()).toEqual(namesIn(stepSchema).toSorted());
  });

  test.each([
    ['src/schema.ts', 'SubmitOptions'],
    ['src/jobs.ts', 'JobOptions'],
    ['src/jobs/types.ts', 'StepOptions'],
    ['src/jobs/types.ts', 'RetryOptions'],
    ['src/jobs/types.ts', 'ExecutorOptions'],
    ['src/limits/limits.ts', 'OwnLimit'],
    ['src/worker/worker.ts', 'WorkerOptions'],
    ['src/lockkeeper.ts', 'LockkeeperOptions'],
  ])('%s: every member of %s has a comment', (file, type) => {
    const options = optionsIn(textOf(file), type);
    expect(options.length).toBeGreaterThan(1);
    expect(options.filter(({ description }) => description === '').map(({ name }) => name)).toEqual([]);
  });

  test('every variable that the code reads is in .env.example', () => {
    expect(variablesIn(textOf('.env.example')).map(({ name }) => name)).toEqual(
      expect.arrayContaining(['DATABASE_URL', 'TEST_DATABASE_URL', 'PGBOSS_SCHEMA', 'LOG_LEVEL']),
    );
  });
});

describe('docs/sql-reference.md', async () => {
  const { execute } = await testDatabase();

  test('is what `npm run docs` writes', async () => {
    expect(textOf('docs/sql-reference.md')).toBe(await sqlReferencePage(execute));
  });

  test('names every SQLSTATE', () => {
    const states = textOf('src/errors.ts').match(/\['LK\d+'/g) ?? [];
    expect(states.length).toBeGreaterThan(5);
    const page = textOf('docs/sql-reference.md');
    expect(states.filter((state) => !page.includes(`\`${state.slice(2, -1)}\``))).toEqual([]);
  });
});
