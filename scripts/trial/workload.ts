/**
 * The runs of part 1, made from their numbers alone, and every key that counts for them, written down by hand: what the
 * observer counts by must not come from the product.
 */

import { type AnyJob, type HandlerContext, jobFromDefinition } from '../../src/jobs.ts';

export const runCount = 2_000;

/** Deployments beside `default`. */
export const deployments = { staging: 'full', 'pr-1': 'branch', 'pr-2': 'branch', 'pr-3': 'branch' } as const;

const each = { applyLimitPerUniqueValue: true };

export const config = {
  concurrency: {
    runs: {
      max_concurrent_runs: 40,
      tag_concurrency_limits: [
        { key: 'backfill', limit: 8 },
        { key: 'customer', value: 'acme', limit: 3 },
        { key: 'customer', value: each, limit: 5 },
      ],
    },
    pools: {
      default_limit: 4,
      limits: { warehouse: 7, api: { limit: 3, scope: 'deployment' } },
    },
    executor: {
      max_concurrent: 3,
      tag_concurrency_limits: [
        { key: 'size', value: 'big', limit: 1 },
        { key: 'zone', value: each, limit: 1 },
        { key: 'io', limit: 2 },
      ],
    },
    branch_deployments: {
      max_concurrent_branch_deployment_runs: 12,
      max_concurrent_runs_per_branch_deployment: 5,
      branch_deployment_tag_concurrency_limits: [{ key: 'customer', value: each, limit: 4 }],
      pools: { warehouse: 3 },
    },
  },
  deployments: { staging: { runs: { max_concurrent_runs: 10 } } },
};

/** The capacity of each limit that has a number; `executor@run` has it from the run. */
export const capacities: Readonly<Record<string, number>> = {
  runs: 40,
  'runs.tag.backfill': 8,
  'runs.tag.customer=acme': 3,
  'runs.tag.customer=*': 5,
  'runs@staging': 10,
  'pool.warehouse': 7,
  'pool.api': 3,
  'pool.*': 4,
  executor: 3,
  'executor.tag.size=big': 1,
  'executor.tag.zone=*': 1,
  'executor.tag.io': 2,
  'executor@report': 2,
  branches: 12,
  'branches.each': 5,
  'branches.tag.customer=*': 4,
  'branches.pool.warehouse': 3,
};

/** `flaky`: its first attempt fails, and the next one does not. `broken`: all of its attempts fail in some runs. */
type PlainStep = {
  after?: string[];
  pool?: string | Record<string, number>;
  tags?: Record<string, string>;
  priority?: number;
  max_attempts?: number;
  backoff_ms?: number;
};

const steps: Record<string, Record<string, PlainStep>> = {
  load: {
    extract: { pool: 'api', max_attempts: 3 },
    copy_a: { after: ['extract'], pool: 'warehouse', tags: { size: 'big', io: 'disk' } },
    copy_b: { after: ['extract'], pool: { warehouse: 2 }, tags: { size: 'big', io: 'net' }, priority: 5 },
    check: { after: ['extract'], tags: { io: 'disk' } },
    done: { after: ['copy_a', 'copy_b', 'check'] },
  },
  report: {
    a: { pool: 'mail' },
    b: { tags: { size: 'big' }, max_attempts: 2, backoff_ms: 30 },
    c: { priority: -3 },
    d: { pool: { warehouse: 1, mail: 2 }, after: ['a'] },
  },
  fan: {
    root: {},
    e1: { after: ['root'], tags: { zone: 'east' } },
    e2: { after: ['root'], tags: { zone: 'east' }, pool: 'gpu' },
    w1: { after: ['root'], tags: { zone: 'west' }, max_attempts: 3 },
    w2: { after: ['root'], tags: { zone: 'west' } },
    n1: { after: ['root'] },
  },
};

const executors: Record<string, object> = { report: { max_concurrent: 2 } };

export function jobsWith(handler: (context: HandlerContext) => unknown): AnyJob[] {
  return Object.entries(steps).map(([name, plain]) =>
    jobFromDefinition(
      name,
      { steps: plain, ...(executors[name] ? { executor: executors[name] } : {}) },
      handler,
    ),
  );
}

export type Run = {
  no: number;
  job: string;
  deployment: string;
  tags: Record<string, string>;
  priority: number;
  maxConcurrent: number | undefined;
};

/** The same numbers for everybody: a run is drawn from its number. */
export function runOf(no: number): Run {
  const draw = (what: number, of: number) => (Math.imul(no * 31 + what + 7, 0x9e3779b1) >>> 8) % of;
  const deployment = ['default', 'default', 'default', 'staging', 'pr-1', 'pr-2', 'pr-3'][
    draw(1, 7)
  ] as string;
  const customer = ['acme', 'bolt', 'cray', 'dyne', 'echo', 'flux', undefined][draw(2, 7)];
  return {
    no,
    job: ['load', 'load', 'report', 'fan'][draw(3, 4)] as string,
    deployment,
    tags: { ...(customer ? { customer } : {}), ...(draw(4, 4) === 0 ? { backfill: `b${draw(5, 3)}` } : {}) },
    priority: draw(6, 5) - 2,
    maxConcurrent: draw(7, 6) === 0 ? 1 + draw(8, 2) : undefined,
  };
}

/** Whether this attempt fails. Step `b` of some reports fails as often as it is tried, so that its run fails. */
export function fails(no: number, step: string, attempt: number): boolean {
  if (step === 'b') return no % 10 === 0 || (no % 3 === 0 && attempt === 1);
  return (step === 'extract' || step === 'w1') && no % 4 === 0 && attempt === 1;
}

/** How each run must end. */
export const endOf = (no: number) => (runOf(no).job === 'report' && no % 10 === 0 ? 'failed' : 'succeeded');

/** A key and how much of it is taken. Its limit's name is what stands before `{`. */
export type Keys = Record<string, number>;

/** What a run holds from its admission to its end. */
export function keysOfRun({ deployment, tags: { customer, backfill } }: Run): Keys {
  if (deployment === 'staging') return { 'runs@staging': 1 };
  if (deployment === 'default') {
    return {
      'runs{default}': 1,
      ...(backfill ? { 'runs.tag.backfill{default}': 1 } : {}),
      ...(customer ? { [`runs.tag.customer=*{default,${customer}}`]: 1 } : {}),
      ...(customer === 'acme' ? { 'runs.tag.customer=acme{default}': 1 } : {}),
    };
  }
  return {
    branches: 1,
    [`branches.each{${deployment}}`]: 1,
    ...(customer ? { [`branches.tag.customer=*{${customer}}`]: 1 } : {}),
  };
}

/** What a step holds while it runs. */
export function keysOfStep(run: Run, name: string): Keys {
  const { pool = {}, tags = {} } = steps[run.job]?.[name] ?? {};
  const keys: Keys = {};
  for (const [one, slots] of Object.entries(typeof pool === 'string' ? { [pool]: 1 } : pool)) {
    if (one === 'warehouse') keys['pool.warehouse'] = slots;
    else if (one === 'api') keys[`pool.api{${run.deployment}}`] = slots;
    else keys[`pool.*{${one}}`] = slots;
    if (one === 'warehouse' && run.deployment.startsWith('pr-')) keys['branches.pool.warehouse'] = slots;
  }
  if (run.maxConcurrent !== undefined) keys[`executor@run{${run.no}}`] = 1;
  else keys[`${run.job === 'report' ? 'executor@report' : 'executor'}{${run.no}}`] = 1;
  if (run.job === 'report') return keys;
  if (tags.size === 'big') keys[`executor.tag.size=big{${run.no}}`] = 1;
  if (tags.zone) keys[`executor.tag.zone=*{${run.no},${tags.zone}}`] = 1;
  if (tags.io) keys[`executor.tag.io{${run.no}}`] = 1;
  return keys;
}

export const limitOf = (key: string): string => key.split('{')[0] as string;

export function capacityOf(key: string): number {
  const limit = limitOf(key);
  if (limit === 'executor@run') return runOf(Number(/\{(\d+)\}/.exec(key)?.[1])).maxConcurrent as number;
  return capacities[limit] as number;
}
