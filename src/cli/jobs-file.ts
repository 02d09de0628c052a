/** The jobs that a worker serves: what an ES module exports. */

import { existsSync } from 'node:fs';
import nodeModule from 'node:module';
import { basename, resolve } from 'node:path';
import { pathToFileURL } from 'node:url';
import { InvalidInputError, LockkeeperError } from '../errors.ts';
import type { AnyJob } from '../jobs.ts';

/** The limits, in the working directory. */
export const configFile = 'lockkeeper.yaml';
/** Looked for in the working directory, in this order. */
export const usualFiles = ['lockkeeper.jobs.ts', 'lockkeeper.jobs.js', 'lockkeeper.jobs.mjs'];

export type JobsFile = {
  jobs: AnyJob[];
  /** Submissions that `dev` makes once; not checked yet. */
  firstRuns: unknown[];
};

/** The file named, else the usual one if it is there. */
export function findJobsFile(named: string | undefined): string | undefined {
  if (named === undefined) return usualFiles.find((file) => existsSync(file));
  if (existsSync(named)) return named;
  throw new InvalidInputError(`--jobs: there is no file ${named}.`);
}

/**
 * The jobs among a module's exports: jobs, and lists of jobs; and its `firstRuns`. What else it exports is left alone.
 * @throws {LockkeeperError} if it cannot be loaded, exports no job, or two of the same name.
 */
export async function loadJobs(file: string): Promise<JobsFile> {
  const exported = await load(file);
  const jobs = [...new Set(Object.values(exported).flat().filter(isJob))];
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
  const { firstRuns } = exported;
  return { jobs, firstRuns: Array.isArray(firstRuns) ? firstRuns : [] };
}

/** By what it can do, not by its class: the module may have loaded Lockkeeper from another place than we did. */
function isJob(value: unknown): value is AnyJob {
  const { name, handlerOf, parseInput } = (value ?? {}) as Partial<AnyJob>;
  return typeof name === 'string' && typeof handlerOf === 'function' && typeof parseInput === 'function';
}

async function load(file: string): Promise<Record<string, unknown>> {
  lendOurselves();
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

/** The library beside this file, in src or in dist. */
const own = new URL(`../index${import.meta.url.endsWith('.ts') ? '.ts' : '.js'}`, import.meta.url).href;
let lent = false;

/** With npx, Lockkeeper is installed somewhere else: a jobs file that finds none gets the one that runs. */
function lendOurselves(): void {
  if (lent) return;
  lent = true;
  // Node has the first from 22.15 on.
  const { registerHooks } = nodeModule as Partial<typeof nodeModule>;
  if (registerHooks) {
    registerHooks({
      resolve(specifier, context, next) {
        try {
          return next(specifier, context);
        } catch (error) {
          const { code } = error as NodeJS.ErrnoException;
          if (specifier !== 'lockkeeper' || code !== 'ERR_MODULE_NOT_FOUND') throw error;
          return { url: own, shortCircuit: true };
        }
      },
    });
    return;
  }
  const hook = `export const resolve = (specifier, context, next) => specifier !== 'lockkeeper' ? next(specifier, context)
    : next(specifier, context).catch(() => ({ url: ${JSON.stringify(own)}, shortCircuit: true }));`;
  nodeModule.register(`data:text/javascript,${encodeURIComponent(hook)}`);
}
