import { existsSync } from 'node:fs';
import { readFile } from 'node:fs/promises';
import type { Command } from 'commander';
import { readConfig } from '../config.ts';
import { startEmbedded } from '../embedded/index.ts';
import type { AnyJob, Logger } from '../jobs.ts';
import { type Lockkeeper, migrateDatabase } from '../lockkeeper.ts';
import { loop } from '../wake.ts';
import { open, pgBossSchemaOf, type Settings, select, settingsOf } from './connect.ts';
import { explain } from './help.ts';
import type { Io } from './io.ts';
import { findJobsFile, loadJobs, usualFiles } from './jobs-file.ts';
import { logOf } from './log.ts';
import { addWorkOptions, startWork, type WorkOptions } from './worker.ts';

const configFile = 'lockkeeper.yaml';

type Options = WorkOptions & { printUrl?: boolean };

export function addDev(program: Command, io: Io): void {
  const command = addWorkOptions(
    program
      .command('dev')
      .description('everything in one process, with an embedded Postgres unless DATABASE_URL is set'),
  )
    .option(
      '--print-url',
      'print the DATABASE_URL of the embedded Postgres; on a terminal it is printed anyway',
    )
    .action(async (options: Options, command: Command) => {
      await dev(io, settingsOf(command, io), options);
    });
  explain(command, {
    more: `Migrates the database, applies ${configFile} if it is there, runs the jobs of the file if there is one, and tells how many
runs there are. Ctrl-C drains it, and the embedded Postgres stops when nobody uses it any more; its data stay in
.lockkeeper/postgres.`,
    examples: ['dev', 'dev --jobs jobs.ts'],
    json: `the log, a line each: { "level": 30, "time": 1767225600000, "msg": "…", … }
with --print-url one line has "database_url".`,
  });
}

async function dev(io: Io, settings: Settings, options: Options): Promise<void> {
  const stopped = io.stopped();
  const log = logOf({ io, json: settings.json, to: 'out' });
  const file = findJobsFile(options.jobs);
  const jobs = file === undefined ? [] : await loadJobs(file);
  const { databaseUrl } = settings;
  const embedded = databaseUrl ? undefined : await startEmbedded({ log: (text) => log.info(text) });
  try {
    const url = databaseUrl ?? embedded?.url ?? '';
    if (embedded && (io.terminal || options.printUrl)) tellUrl(io, settings, url);
    const migrated = await migrateDatabase({ connectionString: url, pgBossSchema: pgBossSchemaOf(io) });
    if (migrated.changed) log.info({ version: migrated.to }, 'the database is migrated');
    await work(io, { url, log, jobs, options }, stopped);
  } finally {
    await embedded?.close();
  }
  log.info('stopped');
}

/** The other commands need it. It holds a password, which only reaches loopback. */
function tellUrl(io: Io, { json }: Settings, url: string): void {
  io.out(json ? JSON.stringify({ database_url: url }) : `export DATABASE_URL='${url}'`);
}

type Work = { url: string; log: Logger; jobs: readonly AnyJob[]; options: Options };

async function work(io: Io, { url, log, jobs, options }: Work, stopped: Promise<void>): Promise<void> {
  const lockkeeper = await open(io, { databaseUrl: url, jobs, log });
  try {
    await applyFile(lockkeeper, log);
    if (jobs.length > 0) await startWork(lockkeeper, options, true);
    else lockkeeper.startCoordinator();
    const served = jobs.length > 0 ? { jobs: jobs.map(({ name }) => name) } : {};
    log.info(served, 'lockkeeper runs; Ctrl-C ends it');
    if (jobs.length === 0)
      log.warn(`there is no ${usualFiles[0]} (nor .js) here, so that no step runs; see --jobs`);
    await tellUntil(lockkeeper, log, stopped);
    log.info('stopping: what runs may end, nothing new is begun');
  } finally {
    await lockkeeper.close();
  }
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
      `select (count(*) filter (where admitted_at is null))::int as queued,
              (count(*) filter (where admitted_at is not null))::int as admitted
       from lockkeeper.runs where ended_at is null`,
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
