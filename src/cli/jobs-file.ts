/** The jobs that a worker serves: what an ES module exports. */

import { existsSync } from 'node:fs';
import { basename, resolve } from 'node:path';
import { pathToFileURL } from 'node:url';
import { InvalidInputError, LockkeeperError } from '../errors.ts';
import type { AnyJob } from '../jobs.ts';

/** Looked for in the working directory, in this order. */
export const usualFiles = ['lockkeeper.jobs.ts', 'lockkeeper.jobs.js', 'lockkeeper.jobs.mjs'];

/** The file named, else the usual one if it is there. */
export function findJobsFile(named: string | undefined): string | undefined {
  if (named === undefined) return usualFiles.find((file) => existsSync(file));
  if (existsSync(named)) return named;
  throw new InvalidInputError(`--jobs: there is no file ${named}.`);
}

/**
 * The jobs among a module's exports: jobs, and lists of jobs; what else it exports is left alone.
 * @throws {LockkeeperError} if it cannot be loaded, exports no job, or two of the same name.
 */
export async function loadJobs(file: string): Promise<AnyJob[]> {
  const exported = Object.values(await load(file)).flat();
  const jobs = [...new Set(exported.filter(isJob))];
  if (jobs.length === 0) {
    throw new InvalidInputError(`${file} exports no job.`, {
      hint: "Write: export const ping = job('ping', async () => 'pong');",
    });
  }
  const names = jobs.map(({ name }) => name);
  const twice = names.find((name, i) => names.indexOf(name) < i);
  if (twice !== undefined)
    throw new InvalidInputError(
      `${file} exports two jobs named ${JSON.stringify(twice)}; give each a name of its own.`,
    );
  return jobs;
}

/** By what it can do, not by its class: the module may have loaded Lockkeeper from another place than we did. */
function isJob(value: unknown): value is AnyJob {
  const { name, handlerOf, parseInput } = (value ?? {}) as Partial<AnyJob>;
  return typeof name === 'string' && typeof handlerOf === 'function' && typeof parseInput === 'function';
}

async function load(file: string): Promise<Record<string, unknown>> {
  try {
    return await import(pathToFileURL(resolve(file)).href);
  } catch (error) {
    const { code, message, stack } = error as NodeJS.ErrnoException;
    throw new LockkeeperError(`${file} cannot be loaded: ${message}`, {
      hint: code === 'ERR_UNKNOWN_FILE_EXTENSION' ? typeScriptHint : whereOf(file, stack),
      cause: error,
    });
  }
}

const typeScriptHint = `Node ${process.versions.node} runs no TypeScript: use Node 22.18 or later, or a .js file.`;

/** The first line of the stack that names the file. */
function whereOf(file: string, stack: string | undefined): string | undefined {
  const found = stack?.split('\n').find((each) => each.includes(basename(file)) && /:\d+/.test(each));
  return found && `It happened at ${found.trim().replace(/^at /, '')}`;
}
