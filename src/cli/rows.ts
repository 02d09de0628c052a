/** Rows of the views `runs` and `steps`, as --json prints them. */

import { InvalidInputError } from '../errors.ts';
import type { Lockkeeper } from '../lockkeeper.ts';
import { select } from './connect.ts';

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
  start_at: Date | null;
  queue_timeout_ms: number | null;
  timeout_ms: number | null;
  retry_of: string | null;
  expired: 'queue_timeout' | 'timeout' | null;
};

export const runColumns = `run_id::text, job, version, deployment, deployment_kind, state, priority, tags, key, max_concurrent,
  canceling, submitted_at, admitted_at, ended_at, steps::int, steps_left::int,
  start_at, queue_timeout_ms::float8, timeout_ms::float8, retry_of::text, expired`;

/** A row as --json prints it. */
export const runJson = `{ "run_id": "42", "job": "load", "version": "…", "deployment": "default", "deployment_kind": "full",
    "state": "queued", "priority": 0, "tags": {}, "key": null, "max_concurrent": null, "canceling": false,
    "submitted_at": "2026-01-31T12:00:00.000Z", "admitted_at": null, "ended_at": null, "steps": 3, "steps_left": 3,
    "start_at": null, "queue_timeout_ms": null, "timeout_ms": null, "retry_of": null, "expired": null }`;

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

const stepColumns = `place, step, state, priority::float8, pools, tags, attempts, losses, started_at, ended_at, worker,
  times_out_at, last_outcome, output, error`;

/** A row as --json prints it. */
export const stepJson = `{ "place": 1, "step": "extract", "state": "failed", "priority": 0, "pools": {}, "tags": {}, "attempts": 1,
    "losses": 0, "started_at": "…", "ended_at": "…", "worker": "host-7", "times_out_at": null, "last_outcome": "failed",
    "output": null, "error": { "name": "Error", "message": "…", "stack": "…" } }`;

/** The steps of a run, in their order; none if there is no such run. */
export function readSteps(lockkeeper: Lockkeeper, id: string): Promise<StepRow[]> {
  return select<StepRow>(
    lockkeeper,
    `select ${stepColumns} from lockkeeper.steps where run_id = $1::bigint order by place`,
    [id],
  );
}

export function noRun(id: string): InvalidInputError {
  return new InvalidInputError(`There is no run ${id}.`, { hint: '`lockkeeper runs list` shows the runs.' });
}
