/** Every file of test/scenarios, each on a database of its own; shared with `npm run scenarios`. */

import { readdirSync, readFileSync } from 'node:fs';
import { expect, inject, test } from 'vitest';
import { play } from './support/player.ts';
import type { ScenarioFile } from './support/scenario.ts';
import { cloneTemplate } from './support/template.ts';

const folder = new URL('./scenarios/', import.meta.url);
const files = readdirSync(folder).filter((name) => name.endsWith('.json'));
const read = (name: string): ScenarioFile => JSON.parse(readFileSync(new URL(name, folder), 'utf8'));

test('there are files to play', () => {
  expect(files.length).toBeGreaterThan(60);
});

test.concurrent.each(files)('%s', async (name) => {
  const clone = await cloneTemplate(inject('template'));
  try {
    expect(await play(clone.url, read(name))).toEqual([]);
  } finally {
    await clone.drop();
  }
});
