/**
 * What a scenario file holds, as FORMAT.md writes it.
 */
export type Kind = 'full' | 'branch';

export type StepDefinition = {
  after?: string[];
  pool?: string | Record<string, number>;
  tags?: Record<string, string>;
  priority?: number;
  max_attempts?: number;
  max_losses?: number;
  /** Seconds. */
  timeout?: number;
};
export type JobDefinition = { executor?: unknown; steps: Record<string, StepDefinition> };

/** What a model is made from: the first part of a file. */
export type Setting = {
  config?: unknown;
  deployments?: Record<string, Kind>;
  /** Name → room for steps, and the jobs that it knows (left out: every job). */
  workers?: Record<string, number | { room: number; jobs?: string[] }>;
  jobs: Record<string, JobDefinition>;
};

/** Its fields may be wrong. */
export type Submission = {
  submit: string;
  job?: unknown;
  tags?: unknown;
  priority?: unknown;
  deployment?: unknown;
  max_concurrent?: unknown;
};

/** All that `expect` can ask. `in_use` has every key that some subject has under the limits of now. */
export type Snapshot = {
  runs: Record<string, string>;
  steps: Record<string, string>;
  /** For each queued run and each ready step; sorted. */
  waiting: Record<string, string[]>;
  in_use: Record<string, number>;
  order: string[];
};

export type Event = Partial<Submission> & {
  settle?: true;
  finish?: string;
  fail?: string;
  worker?: string;
  attempt?: number;
  refused?: true;
  cancel?: string;
  force?: true;
  apply?: unknown;
  crash?: string;
  advance?: number;
  restart?: true;
  expect?: Partial<Snapshot>;
  rejected?: string;
};

export type Scenario = Setting & {
  name: string;
  mechanisms: string[];
  source: string;
  why: string;
  events: Event[];
};
