/**
 * `npm run scenarios -- [OPTIONS] DIR_OR_FILE…`: plays scenario files on a real database; exit 1 if any fails.
 * With `--schema` on a Lockkeeper in that schema; there is none in the usual one then, which would hide a wrong name.
 * With `--pgbouncer` through a PgBouncer in transaction mode that is found in PATH, or is the program `--pgbouncer-at`.
 */

import { readdir, readFile, stat } from 'node:fs/promises';
import { join } from 'node:path';
import { parseArgs } from 'node:util';
import { openDatabase } from '../src/database.ts';
import { migrate } from '../src/migrate.ts';
import { queueSchema } from '../src/queue/boss.ts';
import { findPgBouncer, type PgBouncer, startPgBouncer } from '../test/support/pgbouncer.ts';
import { play } from '../test/support/player.ts';
import { rememberNew } from '../test/support/reset.ts';
import type { ScenarioFile } from '../test/support/scenario.ts';
import { postgresForTools } from '../test/support/server.ts';
import { cloneTemplate, createTemplate, dropTemplate, type Template } from '../test/support/template.ts';

const atOnce = 2;
/** Of the pooler, for each database: the two clients of a file share it. */
const serverConnections = 1;

async function filesOf(path: string): Promise<string[]> {
  if (!(await stat(path)).isDirectory()) return [path];
  const names = await readdir(path, { recursive: true });
  return names
    .filter((name) => name.endsWith('.json'))
    .toSorted()
    .map((name) => join(path, name));
}

async function playFile(url: string, path: string, schema?: string): Promise<string[]> {
  try {
    return await play(url, JSON.parse(await readFile(path, 'utf8')) as ScenarioFile, schema);
  } catch (error) {
    return [error instanceof Error ? error.message : String(error)];
  }
}

type Options = { schema: string | undefined; pooler: PgBouncer | undefined };

/** Plays files one after the other on a database of its own, which is made as new again between them. */
async function playFiles(
  template: Template,
  files: Iterable<string>,
  onPlayed: (file: string, differences: string[]) => void,
  { schema, pooler }: Options,
): Promise<void> {
  const clone = await cloneTemplate(template, schema !== undefined);
  const database = openDatabase({ connectionString: clone.url, schema, max: 3 });
  try {
    if (schema !== undefined) await migrate(database, { alsoMigrate: [queueSchema(database)] });
    const makeNew = await rememberNew(database);
    const url = pooler?.through(clone.url) ?? clone.url;
    for (const file of files) {
      onPlayed(file, await playFile(url, file, schema));
      await makeNew(database.execute);
    }
  } finally {
    await database.close();
    await clone.drop();
  }
}

async function main(): Promise<number> {
  const { values, positionals: paths } = parseArgs({
    allowPositionals: true,
    options: {
      schema: { type: 'string' },
      pgbouncer: { type: 'boolean' },
      'pgbouncer-at': { type: 'string' },
    },
  });
  if (paths.length === 0) {
    console.error('Which files? npm run scenarios -- [--schema NAME] [--pgbouncer] DIR_OR_FILE…');
    return 1;
  }
  const { schema, pgbouncer, 'pgbouncer-at': at } = values;
  const program = pgbouncer || at ? findPgBouncer(at) : undefined;
  if ((pgbouncer || at) && !program) {
    console.error(
      `${at ?? 'PgBouncer'} is not there, or is no program. Install pgbouncer, or say --pgbouncer-at FILE.`,
    );
    return 1;
  }
  const files = (await Promise.all(paths.map(filesOf))).flat();
  const server = await postgresForTools();
  const template = await createTemplate(server);
  const pooler = program ? await startPgBouncer(program, server.url, serverConnections) : undefined;
  const started = process.hrtime.bigint();
  let failed = 0;
  const waiting = files.values();
  const onPlayed = (file: string, differences: string[]) => {
    if (differences.length === 0) return;
    failed += 1;
    console.log(`${file}: ${differences.join('; ')}`);
  };
  try {
    await Promise.all(
      Array.from({ length: atOnce }, () => playFiles(template, waiting, onPlayed, { schema, pooler })),
    );
  } finally {
    await pooler?.close();
    await dropTemplate(template);
    await server.close();
  }
  const seconds = Number(process.hrtime.bigint() - started) / 1e9;
  console.log(`${(files.length / seconds).toFixed(1)} files a second`);
  console.log(`${files.length - failed} passed, ${failed} failed`);
  return failed > 0 ? 1 : 0;
}

process.exitCode = await main();
