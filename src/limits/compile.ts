import type { Config, ExecutorBlock, RunsBlock, TagLimit } from '../config.ts';
import { written } from './names.ts';

/** One limit as SQL takes it: of the live runs or steps that match, grouped by `per`, never more than `capacity`. */
export type LimitRow = {
  /** As people see it; see `names.ts`. */
  name: string;
  counts: 'run' | 'step';
  /** Attributes of the subject: a string must be equal, `true` is any value. */
  match: Record<string, string | true>;
  /** Attributes whose values make the groups, in this order; each group has slots of its own. */
  per: readonly string[];
  /** Slots of each key; null is unlimited: no key, but it still replaces others. */
  capacity: number | null;
  /** Names of limits or of groups of limits that this one switches off for a subject that it matches. */
  replaces: readonly string[];
  /** Groups of limits to which this one belongs, for `replaces` of others. */
  part_of: readonly string[];
  /** Not null: admission looks ahead at this limit's keys, with so many slots beyond the capacity. */
  look_buffer: number | null;
};

type Base = Partial<LimitRow> & Pick<LimitRow, 'name' | 'counts' | 'match' | 'capacity'>;

const row = (base: Base): LimitRow => ({ per: [], replaces: [], part_of: [], look_buffer: null, ...base });

/** The rows that a limit makes: none if it is left out or unlimited. */
function limited(base: Omit<Base, 'capacity'>, capacity: number | null | undefined): LimitRow[] {
  return capacity === null || capacity === undefined ? [] : [row({ ...base, capacity })];
}

/** The rows of a checked configuration. Pure: the same configuration always makes the same rows. */
export function limitsOf(config: Config): LimitRow[] {
  const { runs, executor } = config.concurrency ?? {};
  const own = [...(config.deployments ?? [])];
  return [
    ...(runs ? sharedRuns(runs) : []),
    ...own.flatMap(([deployment, block]) => (block?.runs ? ownRuns(deployment, block.runs) : [])),
    ...poolLimits(config),
    ...(executor ? sharedExecutor(executor) : []),
    ...branchLimits(config),
  ];
}

/** The rows of a job's own `executor` block; none if the job has no such block. */
export function executorLimitsOf(job: string, block: ExecutorBlock | null | undefined): LimitRow[] {
  if (!block) return [];
  const base: Omit<Base, 'capacity'> = {
    name: `executor@${written(job)}`,
    counts: 'step',
    match: { job },
    per: ['run'],
  };
  // A row even without a number: that a job has a block at all replaces the shared one.
  const capacity = block.max_concurrent ?? null;
  return [
    row({ ...base, capacity, replaces: ['executor block'], part_of: ['max_concurrent'] }),
    ...tagLimits(base, block.tag_concurrency_limits),
  ];
}

function sharedRuns(block: RunsBlock): LimitRow[] {
  const base: Omit<Base, 'capacity'> = {
    name: 'runs',
    counts: 'run',
    match: { deployment_kind: 'full' },
    per: ['deployment'],
    part_of: ['runs block'],
  };
  return [...limited(base, block.max_concurrent_runs), ...tagLimits(base, block.tag_concurrency_limits)];
}

function ownRuns(deployment: string, block: RunsBlock): LimitRow[] {
  const base: Omit<Base, 'capacity'> = {
    name: `runs@${written(deployment)}`,
    counts: 'run',
    match: { deployment },
  };
  return [
    row({ ...base, capacity: block.max_concurrent_runs ?? null, replaces: ['runs block'] }),
    ...tagLimits(base, block.tag_concurrency_limits),
  ];
}

function sharedExecutor(block: ExecutorBlock): LimitRow[] {
  const base: Omit<Base, 'capacity'> = {
    name: 'executor',
    counts: 'step',
    match: {},
    per: ['run'],
    part_of: ['executor block'],
  };
  return [
    ...limited(
      { ...base, match: { job: true }, part_of: ['executor block', 'max_concurrent'] },
      block.max_concurrent,
    ),
    ...tagLimits(base, block.tag_concurrency_limits),
  ];
}

/** The three forms of a tag limit, over what `base` matches. */
function tagLimits(base: Omit<Base, 'capacity'>, limits: readonly TagLimit[] | null | undefined): LimitRow[] {
  return (limits ?? []).flatMap(({ key, value, limit }) => {
    const attribute = `tag.${key}`;
    const name = `${base.name}.tag.${key}`;
    const per = base.per ?? [];
    if (typeof value === 'string') {
      const match = { ...base.match, [attribute]: value };
      return limited({ ...base, name: `${name}=${written(value)}`, match }, limit);
    }
    const match = { ...base.match, [attribute]: true as const };
    if (!value) return limited({ ...base, name, match }, limit);
    return limited({ ...base, name: `${name}=*`, match, per: [...per, attribute] }, limit);
  });
}

/** How pools are counted: by steps, at which admission looks ahead, or by runs, from admission to end. */
function poolCounting(config: Config): Pick<LimitRow, 'counts' | 'look_buffer'> {
  const pools = config.concurrency?.pools;
  if (pools?.granularity === 'run') return { counts: 'run', look_buffer: null };
  return { counts: 'step', look_buffer: pools?.op_granularity_run_buffer ?? 0 };
}

function poolLimits(config: Config): LimitRow[] {
  const pools = config.concurrency?.pools;
  const counting = poolCounting(config);
  const grouped = (scope: string | null | undefined) =>
    (scope ?? pools?.scope) === 'deployment' ? ['deployment'] : [];
  const named = [...(pools?.limits ?? [])].map(([pool, { limit, scope }]) =>
    row({
      ...counting,
      name: `pool.${pool}`,
      match: { pool },
      per: grouped(scope),
      // Unlimited is a row too: it keeps the default from the pool.
      capacity: limit ?? null,
      replaces: ['pool.*'],
    }),
  );
  const others = {
    ...counting,
    name: 'pool.*',
    match: { pool: true as const },
    per: ['pool', ...grouped(null)],
  };
  return [...named, ...limited(others, pools?.default_limit)];
}

function branchLimits(config: Config): LimitRow[] {
  const block = config.concurrency?.branch_deployments;
  if (!block) return [];
  const match = { deployment_kind: 'branch' };
  const base: Omit<Base, 'capacity'> = { name: 'branches', counts: 'run', match };
  return [
    ...limited(base, block.max_concurrent_branch_deployment_runs),
    ...limited(
      { ...base, name: 'branches.each', per: ['deployment'] },
      block.max_concurrent_runs_per_branch_deployment,
    ),
    ...tagLimits(base, block.branch_deployment_tag_concurrency_limits),
    ...[...(block.pools ?? [])].flatMap(([pool, capacity]) =>
      limited(
        { ...poolCounting(config), name: `branches.pool.${pool}`, match: { ...match, pool } },
        capacity,
      ),
    ),
  ];
}
