/** The list of mutants cannot rot: each is found exactly once, and what is tried first is there. */

import { existsSync, readFileSync } from 'node:fs';
import { expect, test } from 'vitest';
import { mutants } from './list.ts';
import { mutated } from './mutant.ts';

const root = `${import.meta.dirname}/../..`;

test('there are at least 25, each with a name of its own', () => {
  expect(mutants.length).toBeGreaterThan(25);
  expect(new Set(mutants.map(({ name }) => name)).size).toBe(mutants.length);
});

test.each(mutants)('$name', (mutant) => {
  const content = readFileSync(`${root}/${mutant.file}`, 'utf8');
  expect(mutated(content, mutant)).not.toBe(content);
  expect(mutant.likely.filter((file) => !existsSync(`${root}/${file}`))).toEqual([]);
});
