import { type Command, InvalidArgumentError } from 'commander';
import { InvalidInputError } from '../errors.ts';
import type { Lockkeeper } from '../lockkeeper.ts';
import type { Submitted } from '../runs.ts';
import { ProblemsError, parseSubmission, type Submission } from '../schema.ts';
import { integerFrom, jsonValue, readText, tag } from './arguments.ts';
import { answer, settingsOf, withLockkeeper } from './connect.ts';
import { Unsuccessful } from './failure.ts';
import { explain } from './help.ts';
import { coloursOf, type Io } from './io.ts';
import { paintState } from './table.ts';
import { cut, line } from './text.ts';

type RunOptions = {
  input?: unknown;
  tag?: Record<string, string>;
  priority?: number;
  deployment?: string;
  key?: string;
  maxConcurrent?: number;
};
type Options = RunOptions & { file?: string; wait?: boolean };

const int = { least: -2_147_483_648, most: 2_147_483_647 };

export function addSubmit(program: Command, io: Io): void {
  const command = program
    .command('submit')
    .description('submit a run of a job, or all runs of a file')
    .argument('[job]', 'the name of a job that is registered')
    .option('--input <json>', "the job's input", jsonValue)
    .option('--tag <key=value>', 'a tag of the run; may be repeated', tag)
    .option('--priority <n>', 'higher goes first (default: 0)', integerFrom(int.least, int.most))
    .option('--deployment <name>', 'where the run belongs (default: default)')
    .option('--key <key>', 'of all submissions with the same key only the first makes a run')
    .option('--max-concurrent <n>', 'at most so many steps of this run at once', integerFrom(1, int.most))
    .option('--file <file>', 'a JSON array of submissions, all or none; - is standard input')
    .option('--wait', 'wait for the end; exit code 1 unless every run succeeded')
    .action(async (job: string | undefined, options: Options, command: Command) => {
      const settings = settingsOf(command, io);
      const submissions = await submissionsOf(io, command, job, options);
      const runs = await withLockkeeper(io, settings, async (lockkeeper) => {
        const submitted = await lockkeeper.submitMany(submissions);
        if (!options.wait) return submitted.map(plain);
        if (!settings.json) for (const each of submitted) io.err(said(io, plain(each)));
        return waitFor(lockkeeper, submitted);
      });
      answer(io, settings, { runs }, () => runs.map((run) => said(io, run)).join('\n'));
      if (runs.some((run) => 'state' in run && run.state !== 'succeeded')) throw new Unsuccessful();
    });
  explain(command, {
    more: 'A submission in a file: { "job": …, "input": …, "tags": {…}, "priority": …, "deployment": …, "key": …, "max_concurrent": … };\nonly job must be there.',
    examples: [
      `submit load --input '{"table":"movies"}' --tag customer=acme --wait`,
      'submit --file runs.json',
    ],
    json: `{ "runs": [{ "run_id": "42", "created": true }] }   created: false, when a run with this key was there before
with --wait also: "state": "succeeded" | "failed" | "canceled", "outputs": { "STEP": … }, "errors": { "STEP": { "name": …, "message": … } }`,
  });
}

async function submissionsOf(
  io: Io,
  command: Command,
  job: string | undefined,
  { file, wait: _wait, ...run }: Options,
): Promise<Submission[]> {
  if (file === undefined) {
    if (job === undefined) command.error("error: missing argument 'job', or --file FILE", { exitCode: 2 });
    return [parseSubmission(submissionOf(job, run))];
  }
  const [other] = job === undefined ? Object.keys(run) : ['job'];
  if (other !== undefined)
    command.error(`error: with --file, ${other} belongs into the file`, { exitCode: 2 });
  return readSubmissions(file, await readText(io, file));
}

function submissionOf(job: string, { input, tag: tags, maxConcurrent, ...others }: RunOptions) {
  const own = { input, tags, max_concurrent: maxConcurrent };
  const given = Object.entries({ ...others, ...own }).filter(([, value]) => value !== undefined);
  return { job, ...Object.fromEntries(given) };
}

/** Checks every submission before the first is sent, so that an error can say which one it is. */
function readSubmissions(file: string, text: string): Submission[] {
  let values: unknown;
  try {
    values = jsonValue(text);
  } catch (error) {
    if (!(error instanceof InvalidArgumentError)) throw error;
    throw new InvalidInputError(`${file}: ${error.message}`, { cause: error });
  }
  return (Array.isArray(values) ? values : [values]).map((value, i) => {
    try {
      return parseSubmission(value);
    } catch (error) {
      if (!(error instanceof ProblemsError)) throw error;
      throw new ProblemsError(`Submission ${i + 1} of ${file}`, error.problems);
    }
  });
}

type Ended = { state: string; outputs: Record<string, unknown>; errors: Record<string, unknown> };
type Run = { run_id: string; created: boolean } & Partial<Ended>;

const plain = ({ runId, created }: Submitted): Run => ({ run_id: runId, created });

async function waitFor(lockkeeper: Lockkeeper, submitted: readonly Submitted[]): Promise<Run[]> {
  const runs: Run[] = [];
  for (const each of submitted) {
    const { state, outputs, errors } = await lockkeeper.result(each.runId);
    runs.push({ ...plain(each), state, outputs, errors });
  }
  return runs;
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
