import type { Command } from 'commander';
import { InvalidInputError } from '../errors.ts';
import type { Lockkeeper } from '../lockkeeper.ts';
import type { Reason } from '../slots.ts';
import { runAndStep } from './arguments.ts';
import { answer, select, settingsOf, withLockkeeper } from './connect.ts';
import { explain } from './help.ts';
import { type Colours, coloursOf, type Io } from './io.ts';
import { noRun } from './rows.ts';
import { line, shownDuration } from './text.ts';

type Asked = { run: string; step?: string };
type Why = {
  run_id: string;
  step: string | null;
  state: string;
  sentence: string;
  waiting: Waiting[];
};
type Waiting = Omit<Reason, 'inUse'> & { in_use: number | null };

export function addWhy(program: Command, io: Io): void {
  const command = program
    .command('why')
    .description('why a run, or one of its steps, is not starting')
    .argument('<run>', 'its number, or RUN.STEP', runAndStep)
    .argument('[step]', 'the name of a step')
    .action(async (asked: Asked, step: string | undefined, _options: object, command: Command) => {
      const settings = settingsOf(command, io);
      if (step !== undefined && asked.step !== undefined)
        command.error('error: the step is named twice; write RUN STEP or RUN.STEP', { exitCode: 2 });
      const named = { ...asked, ...(step === undefined ? {} : { step }) };
      const { why, now } = await withLockkeeper(io, settings, (lockkeeper) => find(lockkeeper, named));
      answer(io, settings, why, () => said(io, why, now));
    });
  explain(command, {
    more: 'Every full key with the slots used of its capacity, who holds them (at most 20, the longest first) and since when,\nand what would free it.',
    examples: ['why 42', 'why 42 copy', 'why 42.copy'],
    json: `{ "run_id": "42", "step": null, "state": "queued", "sentence": "…",
  "waiting": [{ "step": null, "state": "queued", "key": "pool.warehouse", "in_use": 5, "capacity": 5, "amount": 1,
                "holders": [{ "run_id": "7", "job": "load", "step": "copy", "amount": 1, "since": "…", "worker": "host-7" }],
                "sentence": "pool.warehouse is full: …" }] }
state: of the run, or of the step that was named. waiting: empty when nothing of it waits.
key: the full key, workers, or null when it waits for time.`,
  });
}

async function find(lockkeeper: Lockkeeper, { run, step }: Asked): Promise<{ why: Why; now: Date }> {
  const [found] = await select<{ state: string; now: Date }>(
    lockkeeper,
    'select state, lockkeeper.now() as now from lockkeeper.runs where run_id = $1::bigint',
    [run],
  );
  if (!found) throw noRun(run);
  const state = step === undefined ? found.state : await stateOf(lockkeeper, run, step);
  // The steps of a queued run wait for nothing but its admission.
  const reasons = await lockkeeper.why(run, found.state === 'queued' ? undefined : step);
  const waiting = reasons.map(({ inUse, ...reason }) => ({ ...reason, in_use: inUse }));
  const sentence = sentenceOf(
    { run, ...(step === undefined ? {} : { step }) },
    state,
    found.state,
    waiting.length,
  );
  return { why: { run_id: run, step: step ?? null, state, sentence, waiting }, now: found.now };
}

async function stateOf(lockkeeper: Lockkeeper, run: string, step: string): Promise<string> {
  const rows = await select<{ step: string; state: string }>(
    lockkeeper,
    'select step, state from lockkeeper.steps where run_id = $1::bigint order by place',
    [run],
  );
  const found = rows.find((row) => row.step === step);
  if (found) return found.state;
  const names = rows.slice(0, 20).map((row) => row.step);
  throw new InvalidInputError(`Run ${run} has no step ${JSON.stringify(step)}.`, {
    hint: `Its steps are ${names.join(', ')}${rows.length > names.length ? ' …' : '.'}`,
  });
}

function sentenceOf({ run, step }: Asked, state: string, runState: string, waiting: number): string {
  const subject = step === undefined ? `Run ${run}` : `Step ${step} of run ${run}`;
  if (step !== undefined && runState === 'queued') return `${subject} is ${state}, since its run is queued.`;
  if (step !== undefined && state === 'pending')
    return `${subject} is pending: a step before it has not succeeded yet.`;
  if (waiting > 0 && state !== 'queued' && step === undefined)
    return `${subject} is ${state}; of its steps these wait:`;
  return waiting > 0 ? `${subject} is ${state}.` : `${subject} is ${state}: nothing of it waits.`;
}

function said(io: Io, { sentence, waiting }: Why, now: Date): string {
  const colours = coloursOf(io);
  return [line`${sentence}`, ...waiting.flatMap((reason) => saidReason(colours, reason, now))].join('\n');
}

function saidReason(colours: Colours, reason: Waiting, now: Date): string[] {
  const { step, key, in_use, capacity, sentence } = reason;
  const what = step === null ? '' : line`${step}: `;
  const used = in_use === null ? '' : line` ${in_use} of ${capacity}`;
  const head = key === null ? what.trimEnd() : `${what}${colours.yellow(line`${key}`)}${used}`;
  const holders = reason.holders.map(({ run_id, step: of, job, amount, since, worker }) => {
    const start = new Date(since);
    const slots = amount === 1 ? '' : line`, ${amount} slots`;
    const by = worker === undefined ? '' : line` on ${worker}`;
    const who = of === undefined ? line`run ${run_id} (${job})` : line`run ${run_id}.${of} (${job})`;
    return `    ${who}${slots}${by} ${colours.dim(line`since ${start}, ${shownDuration(now.getTime() - start.getTime())}`)}`;
  });
  return [...(head === '' ? [] : [`  ${head}`]), line`    ${sentence}`, ...holders];
}
