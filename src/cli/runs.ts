import { type Command, Option } from 'commander';
import type { Lockkeeper } from '../lockkeeper.ts';
import { integerFrom, runId } from './arguments.ts';
import { answer, select, settingsOf, withLockkeeper } from './connect.ts';
import { explain } from './help.ts';
import { coloursOf, type Io } from './io.ts';
import { noRun, type RunRow, readSteps, runColumns, runJson, type StepRow, stepJson } from './rows.ts';
import { addCancel, addPriority, addRetry } from './runs-change.ts';
import { paintState, table } from './table.ts';
import { line, shownValue } from './text.ts';

const states = ['queued', 'admitted', 'running', 'succeeded', 'failed', 'canceled'];
const limit = { usual: 50, most: 100_000 };

export function addRuns(program: Command, io: Io): void {
  const runs = program.command('runs').description('list, show, cancel and retry runs');
  addList(runs, io);
  addShow(runs, io);
  addCancel(runs, io);
  addRetry(runs, io);
  addPriority(runs, io);
}

type ListOptions = { state?: string; job?: string; limit: number };

function addList(runs: Command, io: Io): void {
  const command = runs
    .command('list')
    .description('the runs, latest first')
    .addOption(new Option('--state <state>', 'only those in this state').choices(states))
    .option('--job <job>', 'only those of this job')
    .option('--limit <n>', 'at most so many', integerFrom(1, limit.most), limit.usual)
    .action(async (options: ListOptions, command: Command) => {
      const settings = settingsOf(command, io);
      const found = await withLockkeeper(io, settings, (lockkeeper) => listRuns(lockkeeper, options));
      answer(io, settings, found, () => saidList(io, found));
    });
  explain(command, {
    examples: ['runs list --state queued --limit 10'],
    json: `{ "runs": [${runJson}],
  "more": false }
start_at: it asks for nothing before. expired: the deadline that it did not meet, queue_timeout or timeout.`,
  });
}

type Listed = { runs: RunRow[]; more: boolean };

async function listRuns(lockkeeper: Lockkeeper, options: ListOptions): Promise<Listed> {
  // `state` is derived for each row; the times that go with it are there, and rule most rows out.
  const found = await select<RunRow>(
    lockkeeper,
    `select ${runColumns} from lockkeeper.runs
     where ($1::text is null or state = $1 and (ended_at is not null) = ($1 in ('succeeded', 'failed', 'canceled'))
             and (ended_at is not null or (admitted_at is null) = ($1 = 'queued')))
       and ($2::text is null or job = $2)
     order by runs.run_id desc limit $3`,
    [options.state ?? null, options.job ?? null, options.limit + 1],
  );
  return { runs: found.slice(0, options.limit), more: found.length > options.limit };
}

function saidList(io: Io, { runs, more }: Listed): string {
  if (runs.length === 0) return 'No run.';
  const rows = table(
    io,
    [
      { head: 'RUN', of: (run) => run.run_id, right: true },
      { head: 'JOB', of: (run) => run.job },
      { head: 'DEPLOYMENT', of: (run) => run.deployment },
      { head: 'STATE', of: (run) => run.state, paint: paintState },
      { head: 'STEPS LEFT', of: (run) => `${run.steps_left} of ${run.steps}` },
      { head: 'PRIORITY', of: (run) => run.priority, right: true },
      { head: 'SUBMITTED', of: (run) => run.submitted_at },
      { head: 'TAGS', of: (run) => run.tags },
    ],
    runs,
  );
  return more ? `${rows}\nThere are more: raise --limit.` : rows;
}

function addShow(runs: Command, io: Io): void {
  const command = runs
    .command('show')
    .description('a run and its steps')
    .argument('<run>', 'its number', runId)
    .action(async (id: string, _options: object, command: Command) => {
      const settings = settingsOf(command, io);
      const shown = await withLockkeeper(io, settings, (lockkeeper) => showRun(lockkeeper, id));
      answer(io, settings, shown, () => saidShow(io, shown));
    });
  explain(command, {
    examples: ['runs show 42'],
    json: `{ "run": ${runJson},
  "steps": [${stepJson}] }`,
  });
}

type Shown = { run: RunRow; steps: StepRow[] };

async function showRun(lockkeeper: Lockkeeper, id: string): Promise<Shown> {
  const [run] = await select<RunRow>(
    lockkeeper,
    `select ${runColumns} from lockkeeper.runs where run_id = $1::bigint`,
    [id],
  );
  if (!run) throw noRun(id);
  return { run, steps: await readSteps(lockkeeper, id) };
}

function saidShow(io: Io, { run, steps }: Shown): string {
  const colours = coloursOf(io);
  const facts = Object.entries(run).filter(([, value]) => shownValue(value) !== '-' && value !== false);
  const width = Math.max(...facts.map(([name]) => name.length));
  const lines = facts.map(([name, value]) => `${colours.dim(name.padEnd(width))}  ${line`${value}`}`);
  const rows = table(
    io,
    [
      { head: 'STEP', of: (step) => step.step },
      { head: 'STATE', of: (step) => step.state, paint: paintState },
      { head: 'ATTEMPTS', of: (step) => step.attempts, right: true },
      { head: 'POOLS', of: (step) => step.pools },
      { head: 'TAGS', of: (step) => step.tags },
      { head: 'STARTED', of: (step) => step.started_at },
      { head: 'ENDED', of: (step) => step.ended_at },
      { head: 'WORKER', of: (step) => step.worker },
    ],
    steps,
  );
  const errors = steps.filter(({ error }) => error !== null);
  const said = errors.map(
    ({ step, error, state }) =>
      `${colours.red(state === 'failed' ? 'failed' : 'attempt failed')} ${line`${step}: ${error?.name ?? 'Error'}: ${error?.message}`}`,
  );
  return [...lines, '', rows, ...(said.length === 0 ? [] : ['', ...said])].join('\n');
}
