import type { Command } from 'commander';
import type { Lockkeeper } from '../lockkeeper.ts';
import { runId } from './arguments.ts';
import { answer, select, settingsOf, withLockkeeper } from './connect.ts';
import { explain } from './help.ts';
import type { Colours, Io } from './io.ts';
import { noRun, readSteps, type StepRow, stepJson } from './rows.ts';
import { type Column, paintState, table } from './table.ts';
import { cut, line, shownDuration } from './text.ts';

type AttemptRow = {
  place: number;
  step: string;
  attempt: number;
  outcome: string | null;
  worker: string | null;
  started_at: Date | null;
  ended_at: Date | null;
  error: StepRow['error'];
};
type Found = { run_id: string; steps: StepRow[]; attempts: AttemptRow[] };

export function addSteps(program: Command, io: Io): void {
  const command = program
    .command('steps')
    .description('the steps of a run, with every attempt')
    .argument('<run>', 'its number', runId)
    .action(async (id: string, _options: object, command: Command) => {
      const settings = settingsOf(command, io);
      const found = await withLockkeeper(io, settings, (lockkeeper) => find(lockkeeper, id));
      answer(io, settings, found, () => said(io, found));
    });
  explain(command, {
    examples: ['steps 42'],
    json: `{ "run_id": "42",
  "steps": [${stepJson}],
  "attempts": [{ "place": 1, "step": "extract", "attempt": 1, "outcome": "lost", "worker": "host-7",
                 "started_at": "…", "ended_at": "…", "error": null }] }
outcome: succeeded, failed, canceled, timed_out, lost, returned, force_canceled, or null while it runs.`,
  });
}

async function find(lockkeeper: Lockkeeper, id: string): Promise<Found> {
  const steps = await readSteps(lockkeeper, id);
  if (steps.length === 0) throw noRun(id);
  const attempts = await select<Omit<AttemptRow, 'step'>>(
    lockkeeper,
    `select place, attempt, outcome, worker, started_at, ended_at, error from lockkeeper.attempts where run_id = $1::bigint
     order by place, attempt`,
    [id],
  );
  const names = new Map(steps.map(({ place, step }) => [place, step]));
  const named = attempts.map(({ place, ...rest }) => ({ place, step: names.get(place) ?? '', ...rest }));
  return { run_id: id, steps, attempts: named };
}

/** A line of the table: a step, and below it its attempts where there is more to say than the step does. */
type Line = Partial<AttemptRow> & { name: string; state: string };

function said(io: Io, { steps, attempts }: Found): string {
  const lines = steps.flatMap(({ place, step, state }): Line[] => {
    const own = attempts.filter((attempt) => attempt.place === place);
    const [only] = own;
    if (own.length <= 1) return [{ ...only, name: step, state }];
    return [
      { name: step, state },
      ...own.map((each) => ({
        ...each,
        name: `  attempt ${each.attempt}`,
        state: each.outcome ?? 'running',
      })),
    ];
  });
  const columns: Column<Line>[] = [
    { head: 'STEP', of: ({ name }) => name },
    { head: 'STATE', of: ({ state }) => state, paint: paintOutcome },
    { head: 'STARTED', of: ({ started_at }) => started_at },
    { head: 'LASTED', of: lasted, right: true },
    { head: 'WORKER', of: ({ worker }) => worker },
    {
      head: 'ERROR',
      of: ({ error }) => (error ? cut(line`${error.name ?? 'Error'}: ${error.message}`, 80) : null),
    },
  ];
  return table(io, columns, lines);
}

const paintOutcome = (text: string, colours: Colours): string =>
  ['lost', 'timed_out', 'force_canceled'].includes(text) ? colours.red(text) : paintState(text, colours);

const lasted = ({ started_at, ended_at }: Line): string | null =>
  started_at && ended_at ? shownDuration(ended_at.getTime() - started_at.getTime()) : null;
