import type { Command } from 'commander';
import type { Lockkeeper } from '../lockkeeper.ts';
import type { Submitted } from '../runs.ts';
import { parseSubmission } from '../schema.ts';
import { duration, int32, integerFrom, jsonValue, readText, tag } from './arguments.ts';
import { answer, settingsOf, withLockkeeper } from './connect.ts';
import { Unsuccessful } from './failure.ts';
import { explain } from './help.ts';
import { coloursOf, type Io } from './io.ts';
import { progressOn } from './progress.ts';
import { readSubmissions, type SubmissionFile, submitFile } from './submit-file.ts';
import { paintState } from './table.ts';
import { cut, line } from './text.ts';

type RunOptions = {
  input?: unknown;
  tag?: Record<string, string>;
  priority?: number;
  deployment?: string;
  branch?: string;
  key?: string;
  maxConcurrent?: number;
  startAt?: string;
  queueTimeout?: number;
  timeout?: number;
};
type Options = RunOptions & { file?: string; wait?: boolean };

export function addSubmit(program: Command, io: Io): void {
  const command = program
    .command('submit')
    .description('submit a run of a job, or all runs of a file')
    .argument('[job]', 'the name of a job that is registered')
    .option('--input <json>', "the job's input", jsonValue)
    .option('--tag <key=value>', 'a tag of the run; may be repeated', tag)
    .option('--priority <n>', 'higher goes first (default: 0)', integerFrom(int32.least, int32.most))
    .option('--deployment <name>', 'where the run belongs (default: default)')
    .option('--branch <name>', 'instead of --deployment: a branch deployment, made if it is missing')
    .option('--key <key>', 'of all submissions with the same key only the first makes a run')
    .option('--max-concurrent <n>', 'at most so many steps of this run at once', integerFrom(1, int32.most))
    .option('--start-at <time>', 'it waits until then; ISO 8601, such as 2026-01-31T18:00:00Z')
    .option(
      '--queue-timeout <time>',
      'it fails if it is not admitted within this time, such as 30m',
      duration,
    )
    .option(
      '--timeout <time>',
      'it fails if it has not ended so long after its admission, such as 2h',
      duration,
    )
    .option('--file <file>', 'a JSON array of submissions, or JSON lines; - is standard input')
    .option('--wait', 'wait for the end; exit code 1 unless every run succeeded')
    .action(async (job: string | undefined, options: Options, command: Command) => {
      const settings = settingsOf(command, io);
      const file = await fileOf(io, command, job, options);
      const progress = progressOn(io, 'submitting');
      const runs = await withLockkeeper(io, settings, async (lockkeeper) => {
        const submitted = await submitFile(lockkeeper, file, progress).finally(progress.end);
        if (!options.wait) return submitted.map(plain);
        if (!settings.json) io.err(saidAll(io, submitted.map(plain)));
        return waitFor(io, lockkeeper, submitted);
      });
      answer(io, settings, { runs }, () => saidAll(io, runs));
      if (runs.some((run) => 'state' in run && run.state !== 'succeeded')) throw new Unsuccessful();
    });
  explain(command, {
    more: `A submission in a file has the fields job, input, tags, priority, deployment or branch, key, max_concurrent, start_at,
queue_timeout_ms, timeout_ms; only job must be there. All are checked before the first is submitted, and what is wrong names its
line. An array is submitted as a whole or not at all; lines in batches of 1,000: with a key each, the file can be repeated.`,
    examples: [
      `submit load --input '{"table":"movies"}' --tag customer=acme --wait`,
      'submit load --branch pr-17 --start-at 2026-01-31T18:00:00Z --queue-timeout 30m --timeout 2h',
      'submit --file runs.jsonl',
    ],
    json: `{ "runs": [{ "run_id": "42", "created": true }] }   created: false, when a run with this key was there before
with --wait also: "state": "succeeded" | "failed" | "canceled", "outputs": { "STEP": … }, "errors": { "STEP": { "name": …, "message": … } }`,
    exit: '1 with --wait, if a run did not succeed',
  });
}

async function fileOf(
  io: Io,
  command: Command,
  job: string | undefined,
  { file, wait: _wait, ...run }: Options,
): Promise<SubmissionFile> {
  if (file === undefined) {
    if (job === undefined) command.error("error: missing argument 'job', or --file FILE", { exitCode: 2 });
    return { placed: [{ submission: parseSubmission(submissionOf(job, run)), place: job }], inLines: false };
  }
  const [other] = job === undefined ? Object.keys(run) : ['job'];
  if (other !== undefined)
    command.error(`error: with --file, ${other} belongs into the file`, { exitCode: 2 });
  return readSubmissions(file, await readText(io, file));
}

function submissionOf(job: string, run: RunOptions) {
  const { tag: tags, maxConcurrent, startAt, queueTimeout, timeout, ...others } = run;
  const own = {
    tags,
    max_concurrent: maxConcurrent,
    start_at: startAt,
    queue_timeout_ms: queueTimeout,
    timeout_ms: timeout,
  };
  const given = Object.entries({ ...others, ...own }).filter(([, value]) => value !== undefined);
  return { job, ...Object.fromEntries(given) };
}

type Ended = { state: string; outputs: Record<string, unknown>; errors: Record<string, unknown> };
type Run = { run_id: string; created: boolean } & Partial<Ended>;

const plain = ({ runId, created }: Submitted): Run => ({ run_id: runId, created });

async function waitFor(io: Io, lockkeeper: Lockkeeper, submitted: readonly Submitted[]): Promise<Run[]> {
  const progress = progressOn(io, 'waiting');
  const runs: Run[] = [];
  try {
    for (const each of submitted) {
      progress.at(runs.length, submitted.length, `run ${each.runId}`);
      const { state, outputs, errors } = await lockkeeper.result(each.runId);
      runs.push({ ...plain(each), state, outputs, errors });
    }
  } finally {
    progress.end();
  }
  return runs;
}

const mostLines = 20;

/** A line for each run, and where there are many, their numbers. */
function saidAll(io: Io, runs: readonly Run[]): string {
  if (runs.length <= mostLines) return runs.map((run) => said(io, run)).join('\n');
  const states = Map.groupBy(
    runs,
    ({ state, created }) => state ?? (created ? 'submitted' : 'there already'),
  );
  const counts = [...states].map(([state, some]) => `${some.length} ${state}`);
  const failed = runs.filter(({ state }) => state === 'failed').slice(0, mostLines);
  return [
    line`${runs.length} runs, ${runs[0]?.run_id} to ${runs.at(-1)?.run_id}: ${counts.join(', ')}.`,
    ...failed.map((run) => said(io, run)),
  ].join('\n');
}

function said(io: Io, { run_id, created, state, outputs = {}, errors = {} }: Run): string {
  if (state === undefined)
    return created ? line`Run ${run_id} is submitted.` : line`Run ${run_id} was there already with this key.`;
  const results = Object.entries(outputs).map(
    ([step, output]) => line`  ${step}: ${cut(JSON.stringify(output) ?? 'null', 200)}`,
  );
  const failures = Object.entries(errors).map(([step, error]) => {
    const { name, message } = (error ?? {}) as { name?: string; message?: string };
    return line`  ${step}: ${name ?? 'Error'}: ${message}`;
  });
  return [`${line`Run ${run_id}:`} ${paintState(state, coloursOf(io))}`, ...results, ...failures].join('\n');
}
