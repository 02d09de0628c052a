import { type Command, Option } from 'commander';
import { InvalidInputError } from '../errors.ts';
import type { AnyJob } from '../jobs.ts';
import type { Accepts } from '../leases.ts';
import type { Lockkeeper } from '../lockkeeper.ts';
import { integerFrom } from './arguments.ts';
import { open, requireUrl, settingsOf } from './connect.ts';
import { explain } from './help.ts';
import type { Io } from './io.ts';
import { findJobsFile, loadJobs, usualFiles } from './jobs-file.ts';
import { logOf } from './log.ts';

const most = 2_147_483_647;

/** The options of a worker, as commander gives them. */
export type WorkOptions = {
  jobs?: string;
  name?: string;
  room?: number;
  leaseMs?: number;
  graceMs?: number;
  accepts?: Accepts;
};

type WorkerOptions = WorkOptions & { coordinator: boolean };

const logLines = `the log, a line each: { "level": 30, "time": 1767225600000, "msg": "…", … }
level: 20 debug, 30 info, 40 warn, 50 error; LOG_LEVEL says from which on (info).`;
const ends =
  'SIGTERM and SIGINT drain it, and it ends with exit code 0; a second signal ends it at once with 1.';

/** The options of a worker, of `dev` too. */
export function addWorkOptions(command: Command): Command {
  return command
    .option('--jobs <file>', 'an ES module that exports jobs (default: lockkeeper.jobs.ts or .js)')
    .option('--name <name>', 'what the worker is called (default: host and process id)')
    .option('--room <n>', 'how many steps run at once (default: 10)', integerFrom(1, 1_000_000))
    .option(
      '--lease-ms <n>',
      'milliseconds after which a worker that is silent is given up (default: 15000)',
      integerFrom(100, most),
    )
    .option(
      '--grace-ms <n>',
      'milliseconds that steps get to end when it stops (default: 30000)',
      integerFrom(0, most),
    )
    .addOption(
      new Option(
        '--accepts <versions>',
        'which versions of its jobs: the same steps and edges as its own, exactly its own, or any (default: same)',
      ).choices(['same', 'exact', 'any']),
    );
}

export function addWorker(program: Command, io: Io): void {
  const command = addWorkOptions(
    program.command('worker').description('run the steps of the jobs in a file, and coordinate'),
  )
    .option('--no-coordinator', 'only run steps; a coordinator runs elsewhere')
    .action(async (options: WorkerOptions, command: Command) => {
      const settings = settingsOf(command, io);
      const databaseUrl = requireUrl(settings);
      const file = findJobsFile(options.jobs);
      if (file === undefined) {
        throw new InvalidInputError(`There is no ${usualFiles[0]} (nor .js) in this directory.`, {
          hint: 'Write one that exports jobs, or name another with --jobs FILE.',
        });
      }
      const { jobs } = await loadJobs(file);
      await runUntilStopped(io, { databaseUrl, json: settings.json, jobs }, async (lockkeeper) => {
        await startWork(lockkeeper, options, options.coordinator);
        return { file, jobs: jobs.map(({ name }) => name), coordinator: options.coordinator };
      });
    });
  explain(command, {
    more: ends,
    examples: ['worker --jobs jobs.ts --room 20', 'worker --no-coordinator'],
    json: logLines,
  });
}

export function addCoordinator(program: Command, io: Io): void {
  const command = program
    .command('coordinator')
    .description('only coordinate: admit runs, take submissions, reap; any number may run')
    .action(async (_options: object, command: Command) => {
      const settings = settingsOf(command, io);
      const started = { databaseUrl: requireUrl(settings), json: settings.json };
      await runUntilStopped(io, started, async (lockkeeper) => {
        lockkeeper.startCoordinator();
        return {};
      });
    });
  explain(command, { more: ends, examples: ['coordinator'], json: logLines });
}

/** Starts a worker, with a coordinator beside it or without. */
export async function startWork(
  lockkeeper: Lockkeeper,
  { name, room, leaseMs, graceMs, accepts }: WorkOptions,
  coordinator: boolean,
): Promise<void> {
  const options = { name, room, leaseMs, graceMs, accepts };
  if (coordinator) await lockkeeper.work(options);
  else await lockkeeper.startWorker(options);
}

type Until = { databaseUrl: string; json: boolean; jobs?: readonly AnyJob[] };

/** Opens, starts, says so with what `start` returns, and drains when the process is told to stop. */
export async function runUntilStopped(
  io: Io,
  { databaseUrl, json, jobs }: Until,
  start: (lockkeeper: Lockkeeper) => Promise<object>,
): Promise<void> {
  const stopped = io.stopped();
  const log = logOf({ io, json, to: 'out' });
  const lockkeeper = await open(io, { databaseUrl, jobs, log });
  try {
    const fields = await start(lockkeeper);
    log.info(fields, 'lockkeeper runs; Ctrl-C ends it');
    await stopped;
    log.info('stopping: what runs may end, nothing new is begun');
  } finally {
    await lockkeeper.close();
  }
  log.info('stopped');
}
