import type { Command } from 'commander';
import { answer, select, settingsOf, withLockkeeper } from './connect.ts';
import { explain } from './help.ts';
import type { Io } from './io.ts';
import { type Column, table } from './table.ts';

type WorkerRow = {
  worker: string;
  live: boolean;
  room: number;
  running: number;
  jobs: string[];
  opened_at: Date;
  expires_at: Date;
};

export function addWorkers(program: Command, io: Io): void {
  const workers = program.command('workers').description('list the workers');
  const command = workers
    .command('list', { isDefault: true })
    .description('the workers that live, how many steps they run, and which jobs they serve')
    .option(
      '--all',
      'also those whose lease has ended or run out, and whose steps are not all given back yet',
    )
    .action(async ({ all = false }: { all?: boolean }, command: Command) => {
      const settings = settingsOf(command, io);
      const rows = await withLockkeeper(io, settings, (lockkeeper) =>
        select<WorkerRow>(
          lockkeeper,
          `select worker, live, room, running::int, jobs, opened_at, expires_at from lockkeeper.workers
           where live or $1 order by live desc, worker, opened_at`,
          [all],
        ),
      );
      answer(io, settings, { workers: rows }, () =>
        rows.length === 0 ? 'No worker lives: no step starts.' : table(io, columns, rows),
      );
    });
  explain(command, {
    examples: ['workers', 'workers list --all'],
    json: `{ "workers": [{ "worker": "host-7", "live": true, "room": 10, "running": 3, "jobs": ["load"], "opened_at": "…", "expires_at": "…" }] }
room: how many steps it runs at once. expires_at: the end of its lease, which it renews.`,
  });
}

const columns: Column<WorkerRow>[] = [
  { head: 'WORKER', of: ({ worker }) => worker },
  {
    head: 'LIVE',
    of: ({ live }) => (live ? 'yes' : 'no'),
    paint: (text, { green, red }) => (text === 'yes' ? green(text) : red(text)),
  },
  { head: 'RUNNING', of: ({ running, room }) => `${running} of ${room}`, right: true },
  { head: 'JOBS', of: ({ jobs }) => jobs },
  { head: 'SINCE', of: ({ opened_at }) => opened_at },
  { head: 'LEASE ENDS', of: ({ expires_at }) => expires_at },
];
