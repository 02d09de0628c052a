/**
 * `npm start`: loads the data files of vega-datasets into Postgres, under the limits of lockkeeper.yaml. Ends by itself;
 * exit 1 if a limit was exceeded or a row is missing.
 */

import { mkdtemp, readFile, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { setTimeout as pause } from 'node:timers/promises';
import pg from 'pg';
import pino from 'pino';
import { startEmbedded } from '../src/embedded/index.ts';
import {
  type AnyJob,
  createLockkeeper,
  definitionOf,
  type Lockkeeper,
  migrateDatabase,
  readConfig,
} from '../src/index.ts';
import { createJobs } from './jobs.ts';
import type { Limit } from './keys.ts';
import { Observer, seenOf } from './observer.ts';
import { deployments, type PlannedRun, plannedRuns } from './plan.ts';
import { prepareDatabase, takeTurn } from './prepare.ts';
import { countLoaded, limitsText, loadedText, problemsOf } from './summary.ts';
import { createView, readFrame } from './view.ts';
import { schema } from './work.ts';

const frameEveryMs = 250;
/** Far more than it takes; a step that hangs must not keep people waiting. */
const longestSeconds = 110;
const room = 60;
const graceMs = 1_000;

type Example = { lockkeeper: Lockkeeper; jobs: AnyJob[]; pool: pg.Pool; observer: Observer };

async function main(stopping: AbortSignal): Promise<number> {
  const embedded = process.env.DATABASE_URL ? undefined : await startEmbedded();
  const connectionString = process.env.DATABASE_URL || (embedded?.url ?? '');
  const staging = await mkdtemp(join(tmpdir(), 'lockkeeper-example-'));
  const pool = new pg.Pool({ connectionString, max: 10, application_name: 'lockkeeper example' });
  try {
    await migrateDatabase({ connectionString });
    const turn = await takeTurn(connectionString);
    try {
      const observer = new Observer();
      const jobs = createJobs({ pool, staging, observer });
      const log = pino({ level: 'warn' }, pino.destination(2));
      const lockkeeper = await createLockkeeper({ connectionString, jobs, log });
      try {
        return await play({ lockkeeper, jobs, pool, observer }, stopping);
      } finally {
        await lockkeeper.close();
      }
    } finally {
      await turn.end();
    }
  } finally {
    await pool.end();
    await rm(staging, { recursive: true, force: true });
    await embedded?.close();
  }
}

async function play(example: Example, stopping: AbortSignal): Promise<number> {
  const { lockkeeper, jobs, pool, observer } = example;
  await prepareDatabase({ lockkeeper, jobs, pool, schema });
  for (const [name, kind] of Object.entries(deployments)) await lockkeeper.addDeployment(name, kind);
  await lockkeeper.applyConfig(
    readConfig(await readFile(new URL('lockkeeper.yaml', import.meta.url), 'utf8')),
  );
  await lockkeeper.register();

  const planned = plannedRuns();
  const runs = await submit(lockkeeper, observer, planned);
  console.log(`${runs.size} runs submitted; limits as in examples/lockkeeper.yaml.\n`);
  const started = process.hrtime.bigint();
  await lockkeeper.work({ room, graceMs });
  const states = await watch(lockkeeper, runs, stopping);
  if (stopping.aborted) {
    console.log('\nStopped. The runs that are left are canceled at the next start.');
    return 130;
  }
  console.log(`\nAll ended after ${(Number(process.hrtime.bigint() - started) / 1e9).toFixed(1)} s.`);
  return summarise(example, planned, states);
}

/** Submits all in one transaction; answers what people call each run. */
async function submit(
  lockkeeper: Lockkeeper,
  observer: Observer,
  planned: readonly PlannedRun[],
): Promise<Map<string, string>> {
  const submitted = await lockkeeper.submitMany(
    planned.map(({ job, file, deployment, tags, priority, maxConcurrent }) => ({
      job,
      input: { file },
      deployment,
      tags,
      priority,
      ...(maxConcurrent === undefined ? {} : { max_concurrent: maxConcurrent }),
    })),
  );
  const names = new Map<string, string>();
  for (const [i, run] of planned.entries()) {
    const id = submitted[i]?.runId ?? '';
    observer.submitted({ ...run, id, kind: deployments[run.deployment] ?? 'full' });
    const where = run.deployment === 'default' ? '' : `${run.deployment}:`;
    names.set(id, `${where}${run.file.replace(/\.\w+$/, '')}`);
  }
  return names;
}

/** Shows frames until every run has ended; the number of runs in each state. */
async function watch(
  lockkeeper: Lockkeeper,
  runs: ReadonlyMap<string, string>,
  stopping: AbortSignal,
): Promise<Record<string, number>> {
  const view = createView(process.stdout);
  const started = performance.now();
  const ended = ({ succeeded = 0, failed = 0, canceled = 0 }: Record<string, number>) =>
    succeeded + failed + canceled;
  try {
    for (;;) {
      const seconds = (performance.now() - started) / 1_000;
      const frame = await readFrame(lockkeeper, runs, seconds);
      view.show(frame);
      if (ended(frame.runs) === runs.size || seconds > longestSeconds || stopping.aborted) return frame.runs;
      await pause(frameEveryMs, undefined, { signal: stopping }).catch(() => undefined);
    }
  } finally {
    view.end();
  }
}

async function summarise(
  { lockkeeper, jobs, pool, observer }: Example,
  planned: readonly PlannedRun[],
  states: Record<string, number>,
): Promise<number> {
  const loaded = await countLoaded(pool, planned);
  const { rows: limits } = await lockkeeper.database.execute('select * from lockkeeper.limits', []);
  const seen = seenOf(observer.uses(limits as unknown as Limit[], jobs.map(definitionOf)));
  console.log(`\n${loadedText(loaded)}\n\n${limitsText(seen)}`);
  console.log('Most in use is what the handlers saw by the monotonic clock; shares are of the whole time.');

  const { succeeded = 0, ...others } = states;
  const unfinished = Object.entries(others).map(
    ([state, count]) => `runs that ended as or still are ${state}: ${count}`,
  );
  const problems = [...unfinished, ...problemsOf(loaded, seen)];
  console.log(
    problems.length === 0
      ? `\nAll well: ${succeeded} runs succeeded, every row is there, and no limit was exceeded.`
      : `\nNot well:\n${problems.map((line) => `  ${line}`).join('\n')}`,
  );
  return problems.length === 0 ? 0 : 1;
}

const stopping = new AbortController();
process.once('SIGINT', () => stopping.abort());
process.once('SIGTERM', () => stopping.abort());
try {
  process.exitCode = await main(stopping.signal);
} catch (error) {
  // A host with several addresses fails with an error for each, and no message of its own.
  const first = error instanceof AggregateError ? error.errors[0] : error;
  console.error(`lockkeeper: ${first instanceof Error ? first.message : String(first)}`);
  process.exitCode = 1;
}
