/** The command line as a whole: which commands there are, and how they end. */

import { readFileSync } from 'node:fs';
import { Command, CommanderError } from 'commander';
import { addDeployments } from './deployments.ts';
import { addDev } from './dev.ts';
import { report } from './failure.ts';
import { errColoursOf, type Io } from './io.ts';
import { addLimits } from './limits.ts';
import { addMigrate } from './migrate.ts';
import { addRuns } from './runs.ts';
import { addSubmit } from './submit.ts';
import { harmlessLines } from './text.ts';
import { addWhy } from './why.ts';
import { addCoordinator, addWorker } from './worker.ts';

const about = `
Environment, or .env in the working directory:
  DATABASE_URL   the Postgres (15 to 18); every command but dev needs it
  PGBOSS_SCHEMA  the schema of pg-boss (pgboss)
  LOG_LEVEL      trace, debug, info, warn, error, fatal or silent (info)

Exit codes: 0 done, 1 failed, 2 wrong usage.`;

/** Runs one command line, without program and script; answers the exit code. Never throws. */
export async function runCli(args: readonly string[], io: Io): Promise<0 | 1 | 2> {
  try {
    await programOf(io).parseAsync(args, { from: 'user' });
    return 0;
  } catch (error) {
    if (error instanceof CommanderError) return error.exitCode === 0 ? 0 : 2;
    report(io, error);
    return 1;
  }
}

function programOf(io: Io): Command {
  const colours = errColoursOf(io);
  const program = new Command('lockkeeper')
    .description(
      'Postgres-native concurrency scheduler: which queued runs may start, and which of their steps.',
    )
    .version(versionOfPackage(), '-V, --version', 'print the version')
    .option('--json', 'print JSON')
    .option('--database-url <url>', 'instead of DATABASE_URL')
    .exitOverride()
    .configureHelp({ showGlobalOptions: true })
    .configureOutput({
      writeOut: (text) => io.out(text.trimEnd()),
      writeErr: (text) => io.err(text.trimEnd()),
      outputError: (text, write) =>
        write(`${colours.red('lockkeeper:')} ${harmlessLines(text.replace(/^error: /, ''))}`),
    })
    .showHelpAfterError('hint: add --help to see what is allowed.')
    .addHelpText('after', about);
  addDev(program, io);
  addMigrate(program, io);
  addWorker(program, io);
  addCoordinator(program, io);
  addSubmit(program, io);
  addRuns(program, io);
  addLimits(program, io);
  addDeployments(program, io);
  addWhy(program, io);
  return program;
}

function versionOfPackage(): string {
  return JSON.parse(readFileSync(new URL('../../package.json', import.meta.url), 'utf8')).version;
}
