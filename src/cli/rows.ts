/** Rows of the views `runs` and `steps`, as --json prints them. */

import { InvalidInputError } from '../errors.ts';

export type RunRow = {
  run_id: string;
  job: string;
  version: string;
  deployment: string;
  deployment_kind: 'full' | 'branch';
  state: string;
  priority: number;
  tags: Record<string, string>;
  key: string | null;
  max_concurrent: number | null;
  canceling: boolean;
  submitted_at: Date;
  admitted_at: Date | null;
  ended_at: Date | null;
  steps: number;
  steps_left: number;
};

export const runColumns = `run_id::text, job, version, deployment, deployment_kind, state, priority, tags, key, max_concurrent,
  canceling, submitted_at, admitted_at, ended_at, steps::int, steps_left::int`;

export type StepRow = {
  place: number;
  step: string;
  state: string;
  priority: number;
  pools: Record<string, number>;
  tags: Record<string, string>;
  attempts: number;
  losses: number;
  started_at: Date | null;
  ended_at: Date | null;
  worker: string | null;
  times_out_at: Date | null;
  last_outcome: string | null;
  output: unknown;
  error: { name?: string; message?: string; stack?: string } | null;
};

export const stepColumns = `place, step, state, priority::float8, pools, tags, attempts, losses, started_at, ended_at, worker,
  times_out_at, last_outcome, output, error`;

export function noRun(id: string): InvalidInputError {
  return new InvalidInputError(`There is no run ${id}.`, { hint: '`lockkeeper runs list` shows the runs.' });
}
