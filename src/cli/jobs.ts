import type { Command } from 'commander';
import { answer, select, settingsOf, withLockkeeper } from './connect.ts';
import { explain } from './help.ts';
import type { Io } from './io.ts';
import { type Column, table } from './table.ts';

type JobRow = {
  job: string;
  version: string;
  steps: number;
  pools: Record<string, number>;
  live_workers: number;
  registered_at: Date;
};

export function addJobs(program: Command, io: Io): void {
  const jobs = program.command('jobs').description('list the jobs that are registered');
  const command = jobs
    .command('list', { isDefault: true })
    .description('the jobs, in the version that new runs get')
    .action(async (_options: object, command: Command) => {
      const settings = settingsOf(command, io);
      const rows = await withLockkeeper(io, settings, (lockkeeper) =>
        select<JobRow>(
          lockkeeper,
          `select j.job, j.version, j.steps::int, j.pools,
             (select count(*)::int from lockkeeper.workers w where w.live and j.job = any (w.jobs)) as live_workers,
             j.registered_at
           from lockkeeper.jobs j order by j.job`,
        ),
      );
      answer(io, settings, { jobs: rows }, () =>
        rows.length === 0 ? 'No job: a worker registers its jobs when it starts.' : table(io, columns, rows),
      );
    });
  explain(command, {
    examples: ['jobs', 'jobs list --json'],
    json: `{ "jobs": [{ "job": "load", "version": "…", "steps": 3, "pools": { "warehouse": 1 }, "live_workers": 2, "registered_at": "…" }] }
pools: of each pool, the slots that the greediest step asks. live_workers: those that serve the job.`,
  });
}

const columns: Column<JobRow>[] = [
  { head: 'JOB', of: ({ job }) => job },
  { head: 'VERSION', of: ({ version }) => version.slice(0, 12) },
  { head: 'STEPS', of: ({ steps }) => steps, right: true },
  { head: 'POOLS', of: ({ pools }) => pools },
  {
    head: 'LIVE WORKERS',
    of: ({ live_workers }) => live_workers,
    paint: (text, { yellow }) => (text === '0' ? yellow(text) : text),
    right: true,
  },
  { head: 'REGISTERED', of: ({ registered_at }) => registered_at },
];
