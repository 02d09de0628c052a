/** The public surface of Lockkeeper. */

export { ConfigError, parseConfig, readConfig } from './config.ts';
export { type Executor, type ExecutorSource, executor } from './database.ts';
export * from './errors.ts';
export {
  type AnyJob,
  definitionOf,
  type ExecutorOptions,
  type HandlerContext,
  type InputOf,
  type Job,
  type JobOptions,
  job,
  type Logger,
  type OutputsOf,
  type StepOptions,
} from './jobs.ts';
export type { Accepts } from './leases.ts';
export type {
  DeploymentKind,
  KeyState,
  LimitChange,
  LimitState,
  PlannedChange,
  PlannedLimit,
} from './limits/apply.ts';
export type { Limits, OwnLimit, PauseMatch, Reasoned } from './limits/limits.ts';
export {
  createLockkeeper,
  Lockkeeper,
  type LockkeeperOptions,
  type Working,
} from './lockkeeper.ts';
export { migrateDatabase } from './migrate/database.ts';
export type { Retried, RunResult, RunState, Submitted } from './runs.ts';
export { ProblemsError, type Submission, type SubmitOptions } from './schema.ts';
export type { Holder, Reason } from './slots.ts';
export { type AbortReason, AttemptAborted } from './worker/held.ts';
export type { WorkerOptions } from './worker/worker.ts';
