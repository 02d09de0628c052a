/** The command line as a whole: which commands there are, and how they end. */

import { readFileSync } from 'node:fs';
import { Command, CommanderError } from 'commander';
import { addDeployments } from './deployments.ts';
import { addDev } from './dev.ts';
import { addDoctor } from './doctor.ts';
import { report, Unsuccessful } from './failure.ts';
import { explainGroup, saidExamples } from './help.ts';
import { addInit } from './init.ts';
import { coloursOf, errColoursOf, type Io } from './io.ts';
import { addJobs } from './jobs.ts';
import { addLimits } from './limits.ts';
import { addMigrate } from './migrate.ts';
import { addPause, addResume } from './pause.ts';
import { addRuns } from './runs.ts';
import { addSteps } from './steps.ts';
import { addSubmit } from './submit.ts';
import { harmlessLines } from './text.ts';
import { addUninstall } from './uninstall.ts';
import { addWhy } from './why.ts';
import { addCoordinator, addWorker } from './worker.ts';
import { addWorkers } from './workers.ts';

/** What stands below the help of the program itself. */
export const about = `
Environment, or .env in the working directory:
  DATABASE_URL       the Postgres (15 to 18); left out, dev starts one of its own, and the other commands in the same
                     directory use that one while it runs
  LOCKKEEPER_SCHEMA  the schema of Lockkeeper (lockkeeper); another name is another Lockkeeper in the same database
  PGBOSS_SCHEMA      the schema of pg-boss (pgboss)
  LOG_LEVEL          trace, debug, info, warn, error, fatal or silent (info)
  NO_COLOR           no colour on a terminal either

Exit codes: 0 done, 1 failed, 2 wrong usage, or drift where a command looks for it.`;

const examples = ['init', 'dev', 'submit hello --wait', 'why 42', 'doctor'];

/** Runs one command line, without program and script; answers the exit code. Never throws. */
export async function runCli(args: readonly string[], io: Io): Promise<0 | 1 | 2> {
  try {
    await programOf(io).parseAsync(args, { from: 'user' });
    return 0;
  } catch (error) {
    if (error instanceof CommanderError) return error.exitCode === 0 ? 0 : 2;
    report(io, error);
    return error instanceof Unsuccessful ? error.exitCode : 1;
  }
}

/** All commands; nothing runs yet. */
export function programOf(io: Io): Command {
  const colours = errColoursOf(io);
  const program = new Command('lockkeeper')
    .description(
      'Postgres-native concurrency scheduler: which queued runs may start, and which of their steps.',
    )
    .version(versionOfPackage(), '-V, --version', 'print the version')
    .option('--json', 'print JSON')
    .option('--database-url <url>', 'instead of DATABASE_URL')
    .exitOverride()
    .configureHelp({ showGlobalOptions: true, styleTitle: (title) => coloursOf(io).bold(title) })
    .configureOutput({
      // Whether there is colour, Io knows; commander would take it out again by what the process has.
      getOutHasColors: () => io.terminal,
      getErrHasColors: () => io.errTerminal,
      writeOut: (text) => io.out(text.trimEnd()),
      writeErr: (text) => io.err(text.trimEnd()),
      outputError: (text, write) =>
        write(`${colours.red('lockkeeper:')} ${harmlessLines(text.replace(/^error: /, ''))}`),
    })
    .showHelpAfterError('hint: add --help to see what is allowed.')
    .addHelpText('after', `\n${saidExamples(examples)}\n${about}`);
  addInit(program, io);
  addDev(program, io);
  addMigrate(program, io);
  addDoctor(program, io);
  addWorker(program, io);
  addCoordinator(program, io);
  addSubmit(program, io);
  addRuns(program, io);
  addSteps(program, io);
  addLimits(program, io);
  addPause(program, io);
  addResume(program, io);
  addJobs(program, io);
  addWorkers(program, io);
  addDeployments(program, io);
  addWhy(program, io);
  addUninstall(program, io);
  for (const group of program.commands.filter(({ commands }) => commands.length > 0)) explainGroup(group);
  return program;
}

function versionOfPackage(): string {
  return JSON.parse(readFileSync(new URL('../../package.json', import.meta.url), 'utf8')).version;
}
