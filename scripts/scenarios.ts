/** `npm run scenarios -- DIR_OR_FILE…`: plays scenario files on a real database; exit 1 if any fails. */

import { readdir, readFile, stat } from 'node:fs/promises';
import { join } from 'node:path';
import { play } from '../test/support/player.ts';
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

async function playFile(template: Template, path: string): Promise<string[]> {
  const database = await cloneTemplate(template);
  try {
    return await play(database.url, JSON.parse(await readFile(path, 'utf8')) as ScenarioFile);
  } catch (error) {
    return [error instanceof Error ? error.message : String(error)];
  } finally {
    await database.drop();
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
  const playOn = async () => {
    for (const file of waiting) {
      const differences = await playFile(template, file);
      if (differences.length === 0) continue;
      failed += 1;
      console.log(`${file}: ${differences.join('; ')}`);
    }
  };
  try {
    await Promise.all(Array.from({ length: atOnce }, playOn));
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
