/** Runs the handler of a claimed step; whatever it does, an ending comes out. */

import type { AnyJob, HandlerContext, Logger } from '../jobs.ts';
import { problemsOf, storable } from '../schema.ts';
import type { Claimed, Ending, StepError } from '../steps.ts';
import { refOf } from './held.ts';

export type HandlerOptions = {
  job: Pick<AnyJob, 'handlerOf' | 'parseInput'> | undefined;
  step: Claimed;
  signal: AbortSignal;
  log: Logger;
  progress: (value: unknown) => void;
};

/** How a step's attempt ended: an output that cannot be stored and a handler that throws are failures. */
export async function runHandler(options: HandlerOptions): Promise<Ending> {
  const { step } = options;
  const ref = refOf(step);
  try {
    const output = (await callHandler(options)) ?? null;
    const problem = problemOf(output);
    if (problem === undefined) return { ...ref, outcome: 'succeeded', output };
    throw new Error(`The output of step ${step.step} cannot be stored: ${problem}`);
  } catch (error) {
    return { ...ref, outcome: 'failed', error: errorOf(error) };
  }
}

/** The most bytes that an output may have as JSON: each step after it gets it whole, and many may end at once. */
export const largestOutputBytes = 1_048_576;

function problemOf(output: unknown): string | undefined {
  const checked = storable.safeParse(output);
  if (!checked.success) {
    const [problem] = problemsOf(checked.error, 'output');
    return `${problem?.field}: ${problem?.message}`;
  }
  const bytes = Buffer.byteLength(JSON.stringify(output) ?? 'null');
  if (bytes <= largestOutputBytes) return undefined;
  const number = (value: number) => value.toLocaleString('en');
  return `it has ${number(bytes)} bytes as JSON, allowed are ${number(largestOutputBytes)}; store it elsewhere, and return where it is`;
}

async function callHandler({ job, step, signal, log, progress }: HandlerOptions): Promise<unknown> {
  const handler = job?.handlerOf(step.step);
  if (!job || !handler)
    throw new Error(`This worker has no handler for step ${step.step} of job ${step.job}.`);
  const context: HandlerContext = {
    run: {
      id: step.runId,
      job: step.job,
      version: step.version,
      deployment: step.deployment,
      tags: step.runTags,
    },
    step: step.step,
    attempt: step.attempt,
    fencingToken: step.fencingToken,
    input: await job.parseInput(step.input ?? undefined),
    outputs: step.outputs,
    signal,
    log,
    progress,
  };
  return await handler(context);
}

const longestText = 10_000;

/** An error as it is stored: any thrown value, cut to a readable length. Never throws: the value may be anything. */
export function errorOf(error: unknown): StepError {
  try {
    if (!(error instanceof Error)) return { name: 'Error', message: clean(error) };
    const { name, message, stack } = error;
    return {
      name: clean(name),
      message: clean(message),
      ...(stack === undefined ? {} : { stack: clean(stack) }),
    };
  } catch {
    return { name: 'Error', message: 'The handler threw something that has no text.' };
  }
}

/** Text that Postgres can store. */
const clean = (value: unknown) =>
  String(value).slice(0, longestText).toWellFormed().replaceAll('\0', '\uFFFD');
