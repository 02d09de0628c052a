/** `init`: the files that a first run needs. */

import { existsSync } from 'node:fs';
import { mkdir, readFile, writeFile } from 'node:fs/promises';
import { createRequire } from 'node:module';
import { join, resolve } from 'node:path';
import type { Command } from 'commander';
import { answer, settingsOf } from './connect.ts';
import { explain } from './help.ts';
import type { Io } from './io.ts';
import { configFile, usualFiles } from './jobs-file.ts';
import { table } from './table.ts';
import { line } from './text.ts';

type Change = 'written' | 'overwritten' | 'extended' | 'kept';
type Written = { file: string; change: Change };

const jobsFile = 'lockkeeper.jobs.mjs';
const templates = new URL('../../templates/', import.meta.url);
/** What must not reach git: the data of the embedded Postgres, and passwords. */
const ignored = ['.lockkeeper/', '.env'];

export function addInit(program: Command, io: Io): void {
  const command = program
    .command('init')
    .description('write a first job, its limits and settings, to begin with')
    .argument('[directory]', 'where', '.')
    .option('--force', `overwrite ${configFile} and the jobs file; .env stays as it is`)
    .action(async (directory: string, { force = false }: { force?: boolean }, command: Command) => {
      const settings = settingsOf(command, io);
      const files = await writeFiles(directory, force);
      const next = nextOf(directory, files);
      answer(io, settings, { directory: resolve(directory), files, next }, () => said(io, files, next));
    });
  explain(command, {
    more: `${configFile}, ${jobsFile} and .env, and two lines in .gitignore. What is there already is kept.`,
    examples: ['init', 'init my-app', 'init --force'],
    json: `{ "directory": "/home/me/app", "files": [{ "file": "lockkeeper.yaml", "change": "written" }], "next": ["npx lockkeeper dev"] }
change: written, overwritten, extended or kept. next: command lines, in order.`,
  });
}

async function writeFiles(directory: string, force: boolean): Promise<Written[]> {
  await mkdir(directory, { recursive: true });
  // A jobs file of another name that is there would be found first.
  const jobs = usualFiles.find((file) => existsSync(join(directory, file))) ?? jobsFile;
  return [
    await write(directory, configFile, configFile, force),
    await write(directory, jobs, jobsFile, force && jobs === jobsFile),
    await write(directory, '.env', 'env', false),
    await ignore(directory),
  ];
}

async function write(directory: string, file: string, template: string, force: boolean): Promise<Written> {
  const path = join(directory, file);
  const there = existsSync(path);
  if (there && !force) return { file, change: 'kept' };
  const text = await readFile(new URL(template, templates), 'utf8');
  await writeFile(path, text, file === '.env' ? { mode: 0o600 } : {});
  return { file, change: there ? 'overwritten' : 'written' };
}

async function ignore(directory: string): Promise<Written> {
  const file = '.gitignore';
  const path = join(directory, file);
  const there = existsSync(path);
  const text = there ? await readFile(path, 'utf8') : '';
  const lines = new Set(text.split(/\r?\n/).map((each) => each.trim().replace(/^\//, '')));
  const missing = ignored.filter((each) => !lines.has(each) && !lines.has(each.replace(/\/$/, '')));
  if (missing.length === 0) return { file, change: 'kept' };
  const before = text === '' || text.endsWith('\n') ? text : `${text}\n`;
  await writeFile(path, `${before}${missing.join('\n')}\n`);
  return { file, change: there ? 'extended' : 'written' };
}

function nextOf(directory: string, files: readonly Written[]): string[] {
  const here = resolve(directory) === resolve('.');
  const sample = files.some(({ file, change }) => file === jobsFile && change !== 'kept');
  return [
    ...(here ? [] : [`cd ${directory}`]),
    ...(installed(directory) ? [] : ['npm install lockkeeper']),
    'npx lockkeeper dev',
    ...(sample ? ['npx lockkeeper submit hello --wait'] : []),
  ];
}

/** Whether an import in this directory finds Lockkeeper: `dev` runs without, editors and other programs do not. */
function installed(directory: string): boolean {
  try {
    createRequire(join(resolve(directory), 'any.js')).resolve('lockkeeper');
    return true;
  } catch {
    return false;
  }
}

const whatFor: Readonly<Record<string, string>> = {
  'npm install lockkeeper': 'so that editors and your own programs find it',
  'npx lockkeeper dev': 'runs it all, with a Postgres of its own, and submits the first runs',
  'npx lockkeeper submit hello --wait': 'from another terminal: one run more',
};

function said(io: Io, files: readonly Written[], next: readonly string[]): string {
  const columns = [
    { head: 'FILE', of: ({ file }: Written) => file },
    { head: '', of: ({ change }: Written) => (change === 'kept' ? 'kept as it was' : change) },
  ];
  const width = Math.max(...next.map((each) => each.length));
  const lines = next.map(
    (each) => `  ${line`${each.padEnd(width)}`}${whatFor[each] ? `   ${whatFor[each]}` : ''}`,
  );
  return [table(io, columns, files), '', 'Next:', ...lines].join('\n');
}
