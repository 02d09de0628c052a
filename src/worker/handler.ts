/** Runs the handler of a claimed step; whatever it does, an ending comes out. */

import type { AnyJob, HandlerContext, Logger } from '../jobs.ts';
import { problemsOf, storable } from '../schema.ts';
import type { Claimed, Ending, StepError } from '../steps.ts';

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
  const ref = { runId: step.runId, place: step.place, attempt: step.attempt };
  try {
    const output = (await callHandler(options)) ?? null;
    const checked = storable.safeParse(output);
    if (checked.success) return { ...ref, outcome: 'succeeded', output };
    const [problem] = problemsOf(checked.error, 'output');
    throw new Error(
      `The output of step ${step.step} cannot be stored: ${problem?.field}: ${problem?.message}`,
    );
  } catch (error) {
    return { ...ref, outcome: 'failed', error: errorOf(error) };
  }
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

/** An error as it is stored: any thrown value, cut to a readable length. */
export function errorOf(error: unknown): StepError {
  if (!(error instanceof Error)) return { name: 'Error', message: clean(String(error)) };
  return {
    name: clean(error.name),
    message: clean(error.message),
    ...(error.stack === undefined ? {} : { stack: clean(error.stack) }),
  };
}

/** Text that Postgres can store. */
const clean = (text: string) => text.slice(0, longestText).toWellFormed().replaceAll('\0', '\uFFFD');
