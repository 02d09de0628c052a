/** One word for one thing: what design.md §2 calls otherwise does not stand in sql/ or src/. */

import { expect, test } from 'vitest';
import { type Source, sources } from './sources.ts';

/** Each with the files in which it is not a name of ours, and why. */
const forbidden: Record<string, RegExp | undefined> = {
  project: undefined,
  workflow: undefined,
  pipeline: undefined,
  task: undefined,
  activity: /^src\/(database|cli\/doctor\/server|queue\/(keeper|still-clock))\.ts$/, // pg_stat_activity; what pg-boss is busy with
  callback: undefined,
  label: undefined,
  resource: undefined,
  quota: undefined,
  semaphore: undefined,
  permit: undefined,
  acquire: undefined,
  reserve: undefined,
  rescue: undefined,
  subscription: undefined,
  leader: undefined,
  op: /^src\/(config|config\/dagster|limits\/compile)\.ts$/, // Dagster's word for a step
  dequeue: /^src\/config\/dagster\.ts$/, // Dagster's settings
  agent: /^src\/config\/dagster\.ts$/,
  poll: /^src\/config\/dagster\.ts$/,
  consumer: /^src\/cli\/main\.ts$/, // whoever reads standard output
  scheduler: /^src\/(cli\/program|config\/dagster)\.ts$/, // what Lockkeeper is
  environment: /^src\/(cli|embedded)\//, // variables of the process
  launch: /^src\/embedded\//, // of Postgres itself
  free: /^(src\/embedded\/|src\/(slots|cli\/why|config\/dagster)\.ts$|sql\/code\/70_)/, // a free port; in a sentence
  notify: /^src\/(database|wake)\.ts$/, // Postgres's NOTIFY
  epoch: /^src\/(wake|queue\/(keeper|still-clock))\.ts$/, // where the wall clock begins
  cycle: /^(src\/jobs\/definition\.ts$|sql\/code\/40_)/, // of steps that come after each other
};

/** Single words, out of snake_case and camelCase, without the s of a plural. */
function wordsOf({ text }: Source): Set<string> {
  const words =
    text
      .replace(/([a-z])([A-Z])/g, '$1 $2')
      .toLowerCase()
      .match(/[a-z]+/g) ?? [];
  return new Set(words.flatMap((word) => [word, word.replace(/s$/, '')]));
}

const files = sources('src/**/*.ts', 'sql/**/*.sql').map((file) => ({
  path: file.path,
  words: wordsOf(file),
}));

test.each(Object.entries(forbidden))('%s', (word, except) => {
  const users = files.filter(({ path, words }) => words.has(word) && !except?.test(path));
  expect(users.map(({ path }) => path)).toEqual([]);
});

test('`signal` is only the AbortSignal of the platform', () => {
  const users = files.filter(({ path, words }) => path.startsWith('sql/') && words.has('signal'));
  expect(users).toEqual([]);
});
