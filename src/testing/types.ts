/** What the test kit knows of the types of a job. */

import { InvalidInputError } from '../errors.ts';
import type { AnyJob, HandlerContext, Job, OutputsOf } from '../jobs.ts';
import type { RunResult, Submitted } from '../runs.ts';

/** How far the clock moves: the sum of what is given, 0 or more. */
export type Duration = {
  days?: number;
  hours?: number;
  minutes?: number;
  seconds?: number;
  milliseconds?: number;
};

/** A run: its id, or what `kit.submit` answered, which also knows the types of its job. */
export type Run<J extends AnyJob = AnyJob> =
  | string
  | (Submitted & {
      /** Only for inference: nothing is ever stored here. */
      readonly types?: J;
    });

/** The names of a job's steps; the only one of a job in one line is `run`. */
export type StepName<J extends AnyJob> = keyof OutputsOf<J> & string;

/** What a step returns, as it was stored. */
export type OutputOf<J extends AnyJob, S extends StepName<J>> = OutputsOf<J>[S];

/** What a handler in place of the step's own returns. */
export type Returned<J extends AnyJob, S extends StepName<J>> =
  | OutputOf<J, S>
  // biome-ignore lint/suspicious/noConfusingVoidType: a handler without return is meant
  | (null extends OutputOf<J, S> ? void : never);

/** What a handler of the job gets; `outputs` are those of the steps named in its `after`. */
export type ContextOf<J extends AnyJob> = HandlerContext<HandledInput<J>, Partial<OutputsOf<J>>>;

type HandledInput<J> = J extends Job<infer _Submitted, infer Input, infer _Outputs> ? Input : never;

/** The end of a run. */
export type ResultOf<J extends AnyJob> = Omit<RunResult, 'outputs'> & { outputs: Partial<OutputsOf<J>> };

/** A step as it is now. */
export type StepNow<Output = unknown> = {
  state: 'pending' | 'ready' | 'running' | 'succeeded' | 'failed' | 'skipped' | 'canceled';
  /** How often it was started. */
  attempts: number;
  /** How many of these ended with their worker. */
  losses: number;
  /** How the last attempt that has ended did so: `succeeded`, `failed`, `timed_out`, `lost`, `canceled` … */
  outcome: string | null;
  /** What it returned. */
  output: Output | null;
  /** What it threw: `{ name, message, stack }`. */
  error: { name: string; message: string; stack?: string } | null;
};

export type StepsOf<J extends AnyJob> = { [S in StepName<J>]: StepNow<OutputOf<J, S>> };

export function runIdOf(run: Run): string {
  return typeof run === 'string' ? run : run.runId;
}

const milliseconds = { days: 86_400_000, hours: 3_600_000, minutes: 60_000, seconds: 1_000, milliseconds: 1 };

/** @throws {InvalidInputError} unless it is a whole number of milliseconds, 0 or more. */
export function millisecondsOf(duration: Duration): number {
  let total = 0;
  for (const [unit, amount] of Object.entries(duration)) {
    if (!(unit in milliseconds)) {
      throw new InvalidInputError(
        `${unit} is no unit of time, allowed are ${Object.keys(milliseconds).join(', ')}.`,
        {},
      );
    }
    total += (amount ?? 0) * milliseconds[unit as keyof Duration];
  }
  const rounded = Math.round(total);
  if (Number.isFinite(rounded) && rounded >= 0) return rounded;
  throw new InvalidInputError(`The clock cannot move by ${JSON.stringify(duration)}.`, {
    hint: 'Time only moves on.',
  });
}
