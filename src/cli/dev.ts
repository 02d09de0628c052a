/** `dev`: everything in one process. */

import { existsSync } from 'node:fs';
import { readFile } from 'node:fs/promises';
import type { Command } from 'commander';
import { readConfig } from '../config.ts';
import { type Embedded, startEmbedded } from '../embedded/index.ts';
import type { Logger } from '../jobs.ts';
import type { Lockkeeper } from '../lockkeeper.ts';
import { migrateDatabase } from '../migrate/database.ts';
import { ProblemsError, parseSubmission } from '../schema.ts';
import { loop, wallClockMs } from '../wake.ts';
import { open, type Settings, schemasOf, select, settingsOf } from './connect.ts';
import { explain } from './help.ts';
import type { Io } from './io.ts';
import { configFile, findJobsFile, type JobsFile, loadJobs, usualFiles } from './jobs-file.ts';
import { frameText, readFrame } from './live.ts';
import { logOf } from './log.ts';
import { noteDev } from './running-dev.ts';
import type { Screen } from './screen.ts';
import { addWorkOptions, startWork, type WorkOptions } from './worker.ts';

type Options = WorkOptions & { printUrl?: boolean; submit?: string; live: boolean };

/** Milliseconds between two pictures of the live view. */
const drawEveryMs = 500;

export function addDev(program: Command, io: Io): void {
  const command = addWorkOptions(
    program
      .command('dev')
      .description('everything in one process, with an embedded Postgres unless DATABASE_URL is set'),
  )
    .option('--submit <job>', 'submit a run of this job when it has started')
    .option('--no-live', 'log lines instead of the live view')
    .option('--print-url', 'print the DATABASE_URL of the embedded Postgres')
    .action(async (options: Options, command: Command) => {
      await dev(io, settingsOf(command, io), options);
    });
  explain(command, {
    more: `Migrates the database, applies ${configFile} if it is there, runs the jobs of the file if there is one, and submits the
file's firstRuns, each once by its key. On a terminal it shows a live view: limits, runs, who waits for what.
Ctrl-C drains it, and the embedded Postgres stops when nobody uses it any more; its data stay in .lockkeeper/postgres.
While it runs, the other commands in this directory use its embedded Postgres, unless DATABASE_URL names another.`,
    examples: ['dev', 'dev --jobs jobs.ts --submit load', 'dev --no-live'],
    json: `the log, a line each: { "level": 30, "time": 1767225600000, "msg": "…", … }
with --print-url one line has "database_url".`,
  });
}

async function dev(io: Io, settings: Settings, options: Options): Promise<void> {
  const stopped = io.stopped();
  const screen = options.live && !settings.json ? io.screen?.('out') : undefined;
  const shown = screen ? { ...io, out: screen.keep } : io;
  const log = logOf({ io: shown, json: settings.json, to: 'out' });
  const file = findJobsFile(options.jobs);
  const loaded = file === undefined ? { jobs: [], firstRuns: [] } : await loadJobs(file);
  const embedded = settings.databaseUrl ? undefined : await startEmbedded({ log: (text) => log.info(text) });
  let unnote = () => {};
  try {
    const url = settings.databaseUrl ?? embedded?.url ?? '';
    if (embedded && options.printUrl) tellUrl(shown, settings, embedded);
    const migrated = await migrateDatabase({ connectionString: url, ...schemasOf(io) });
    if (migrated.changed) log.info({ version: migrated.to }, 'the database is migrated');
    if (embedded) unnote = noteDev(embedded.url);
    await work({ io: shown, url, log, file, ...loaded, options, screen }, stopped);
  } finally {
    unnote();
    await embedded?.close();
  }
  log.info('stopped');
}

/** It holds a password, which only reaches loopback. */
function tellUrl(io: Io, { json }: Settings, { url }: Embedded): void {
  io.out(json ? JSON.stringify({ database_url: url }) : `export DATABASE_URL='${url}'`);
}

type Work = JobsFile & {
  io: Io;
  url: string;
  log: Logger;
  file: string | undefined;
  options: Options;
  screen: Screen | undefined;
};

async function work(given: Work, stopped: Promise<void>): Promise<void> {
  const { io, url, log, jobs, options, screen } = given;
  const lockkeeper = await open(io, { databaseUrl: url, jobs, log });
  try {
    await applyFile(lockkeeper, log);
    if (jobs.length > 0) await startWork(lockkeeper, options, true);
    else lockkeeper.startCoordinator();
    const served = jobs.length > 0 ? { jobs: jobs.map(({ name }) => name) } : {};
    log.info(served, 'lockkeeper runs; Ctrl-C ends it');
    if (jobs.length === 0)
      log.warn(
        `there is no ${usualFiles[0]} (nor .js, .mjs) here, so that no step runs; see --jobs and \`lockkeeper init\``,
      );
    await submitFirst(lockkeeper, given);
    await (screen ? drawUntil(lockkeeper, given, screen, stopped) : tellUntil(lockkeeper, log, stopped));
    log.info('stopping: what runs may end, nothing new is begun');
  } finally {
    await lockkeeper.close();
  }
}

/** What the jobs file wants to see run; `key` makes each of them once for a database. */
async function submitFirst(lockkeeper: Lockkeeper, { firstRuns, file, options, log }: Work): Promise<void> {
  const first = firstRuns.map((value, i) => checked(value, i, file ?? ''));
  const submitted = await lockkeeper.submitMany(first);
  const runs = submitted.filter(({ created }) => created).map(({ runId }) => runId);
  if (runs.length > 0) log.info({ runs }, `the firstRuns of ${file} are submitted`);
  if (options.submit === undefined) return;
  const { runId } = await lockkeeper.submit(options.submit);
  log.info({ run: runId, job: options.submit }, 'submitted');
}

function checked(value: unknown, i: number, file: string) {
  try {
    const submission = parseSubmission(value);
    if (submission.key) return submission;
  } catch (error) {
    if (!(error instanceof ProblemsError)) throw error;
    throw new ProblemsError(`firstRuns[${i}] of ${file}`, error.problems);
  }
  throw new ProblemsError(`firstRuns[${i}] of ${file}`, [
    { field: 'key', message: 'is missing: without it the run would be submitted at each start' },
  ]);
}

/** Draws the live view until told to stop; the last picture stays. */
async function drawUntil(
  lockkeeper: Lockkeeper,
  { io, log }: Work,
  screen: Screen,
  stopped: Promise<void>,
): Promise<void> {
  const since = new Date(wallClockMs());
  const drawing = loop({
    tick: async () => {
      screen.draw(frameText(io, await readFrame(lockkeeper, since), screen));
      return false;
    },
    everyMs: drawEveryMs,
    onError: (error) => log.warn({ err: error }, 'the live view could not be read'),
  });
  await stopped;
  await drawing.stop();
  screen.end('leave');
}

async function applyFile(lockkeeper: Lockkeeper, log: Logger): Promise<void> {
  if (!existsSync(configFile)) return;
  const changes = await lockkeeper.applyConfig(readConfig(await readFile(configFile, 'utf8')));
  log.info({ changes: changes.length }, `${configFile} is applied`);
}

/** Tells how many runs and steps there are, whenever that has changed. */
async function tellUntil(lockkeeper: Lockkeeper, log: Logger, stopped: Promise<void>): Promise<void> {
  let before = '';
  const tick = async () => {
    const [counts = {}] = await select<Record<string, number>>(
      lockkeeper,
      `select coalesce(sum(runs) filter (where state = 'queued'), 0)::int as queued,
              coalesce(sum(runs) filter (where state <> 'queued'), 0)::int as admitted
       from lockkeeper.states`,
    );
    const now = JSON.stringify(counts);
    if (now !== before) log.info(counts, 'runs');
    before = now;
    return false;
  };
  const telling = loop({
    tick,
    onError: (error) => log.warn({ err: error }, 'the runs could not be counted'),
  });
  await stopped;
  await telling.stop();
}
