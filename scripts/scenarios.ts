/** `npm run scenarios -- DIR_OR_FILE…`: plays scenario files on a real database; exit 1 if any fails. */

import { readdir, readFile, stat } from 'node:fs/promises';
import { join } from 'node:path';
import { openDatabase } from '../src/database.ts';
import { play } from '../test/support/player.ts';
import { rememberNew } from '../test/support/reset.ts';
import type { ScenarioFile } from '../test/support/scenario.ts';
import { postgresForTools } from '../test/support/server.ts';
import { cloneTemplate, createTemplate, dropTemplate, type Template } from '../test/support/template.ts';

const atOnce = 2;

async function filesOf(path: string): Promise<string[]> {
  if (!(await stat(path)).isDirectory()) return [path];
  const names = await readdir(path, { recursive: true });
  return names
    .filter((name) => name.endsWith('.json'))
    .toSorted()
    .map((name) => join(path, name));
}

async function playFile(url: string, path: string): Promise<string[]> {
  try {
    return await play(url, JSON.parse(await readFile(path, 'utf8')) as ScenarioFile);
  } catch (error) {
    return [error instanceof Error ? error.message : String(error)];
  }
}

/** Plays files one after the other on a database of its own, which is made as new again between them. */
async function playFiles(
  template: Template,
  files: Iterable<string>,
  onPlayed: (file: string, differences: string[]) => void,
): Promise<void> {
  const clone = await cloneTemplate(template);
  const database = openDatabase({ connectionString: clone.url, max: 1 });
  try {
    const makeNew = await rememberNew(database.execute);
    for (const file of files) {
      onPlayed(file, await playFile(clone.url, file));
      await makeNew(database.execute);
    }
  } finally {
    await database.close();
    await clone.drop();
  }
}

async function main(paths: string[]): Promise<number> {
  if (paths.length === 0) {
    console.error('Which files? npm run scenarios -- DIR_OR_FILE…');
    return 1;
  }
  const files = (await Promise.all(paths.map(filesOf))).flat();
  const server = await postgresForTools();
  const template = await createTemplate(server);
  const started = process.hrtime.bigint();
  let failed = 0;
  const waiting = files.values();
  const onPlayed = (file: string, differences: string[]) => {
    if (differences.length === 0) return;
    failed += 1;
    console.log(`${file}: ${differences.join('; ')}`);
  };
  try {
    await Promise.all(Array.from({ length: atOnce }, () => playFiles(template, waiting, onPlayed)));
  } finally {
    await dropTemplate(template);
    await server.close();
  }
  const seconds = Number(process.hrtime.bigint() - started) / 1e9;
  console.log(`${(files.length / seconds).toFixed(1)} files a second`);
  console.log(`${files.length - failed} passed, ${failed} failed`);
  return failed > 0 ? 1 : 0;
}

process.exitCode = await main(process.argv.slice(2));
