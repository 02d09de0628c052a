/**
 * The configuration as limits: one function for each section of the file, from the tables of FORMAT.md alone.
 * The product's own translation is not used, so that the two can be compared.
 */
import type { JobDefinition, Kind } from './format.ts';
import { type Limit, written } from './limits.ts';
import {
  capacityOf,
  checkName,
  checkSteps,
  checkText,
  type Fields,
  oneOf,
  Refused,
  settings,
} from './refusals.ts';

type Block = Partial<Limit> & { prefix: string; counts: 'run' | 'step'; zero: boolean };

const branchPath = 'concurrency.branch_deployments';

/** All limits of a configuration. Throws Refused. */
export function limitsOf(config: unknown, deployments: Record<string, Kind>): Limit[] {
  const file = settings(config, 'configuration', ['concurrency', 'deployments']);
  const parts = ['runs', 'pools', 'executor', 'branch_deployments'];
  const concurrency = settings(file.concurrency, 'concurrency', parts);
  const shared = { match: { deployment_kind: 'full' }, per: ['deployment'], part_of: ['runs block'] };
  return [
    ...runsBlock(concurrency.runs, 'concurrency.runs', 'runs', shared),
    ...ownRunsBlocks(file.deployments, deployments),
    ...poolLimits(concurrency.pools, concurrency.branch_deployments),
    ...executorBlock(concurrency.executor, 'concurrency.executor', 'executor', {
      part_of: ['executor block'],
    }),
    ...branchLimits(concurrency.branch_deployments),
  ].filter(isThere);
}

/** The limits of a job's own `executor` block, which is switched on by being there. Throws Refused. */
export function limitsOfJob(job: string, { executor, steps }: JobDefinition): Limit[] {
  checkSteps(job, steps);
  if (executor === undefined) return [];
  const own = { source: 'job', match: { job }, replaces: ['executor block'] };
  return executorBlock(executor, `jobs.${job}.executor`, `executor@${job}`, own).filter(isThere);
}

function runsBlock(value: unknown, path: string, prefix: string, block: Partial<Limit>): Limit[] {
  const runs = settings(value, path, ['max_concurrent_runs', 'tag_concurrency_limits']);
  const capacity = capacityOf(runs.max_concurrent_runs, `${path}.max_concurrent_runs`);
  const { replaces, ...others } = block;
  return [
    limit({ ...block, name: prefix, counts: 'run', capacity }),
    ...tagLimits(runs, `${path}.tag_concurrency_limits`, { ...others, prefix, counts: 'run', zero: true }),
  ];
}

function ownRunsBlocks(value: unknown, deployments: Record<string, Kind>): Limit[] {
  return Object.entries(settings(value, 'deployments')).flatMap(([name, own]) => {
    const { runs } = settings(own, `deployments.${name}`, ['runs']);
    if (runs === undefined) return [];
    if (!Object.hasOwn(deployments, name))
      throw new Refused(`deployments.${name}: there is no such deployment`);
    if (deployments[name] !== 'full')
      throw new Refused(`deployments.${name}.runs: not for a branch deployment`);
    const block = { match: { deployment: name }, replaces: ['runs block'] };
    return runsBlock(runs, `deployments.${name}.runs`, `runs@${name}`, block);
  });
}

function poolLimits(poolsValue: unknown, branchesValue: unknown): Limit[] {
  const path = 'concurrency.pools';
  const allowed = ['default_limit', 'granularity', 'scope', 'op_granularity_run_buffer', 'limits'];
  const pools = settings(poolsValue, path, allowed);
  const granularity = oneOf(pools.granularity ?? 'step', `${path}.granularity`, ['step', 'op', 'run']);
  const scope = pools.scope ?? 'all';
  const buffer = capacityOf(pools.op_granularity_run_buffer ?? 0, `${path}.op_granularity_run_buffer`);
  if (buffer === null) throw new Refused(`${path}.op_granularity_run_buffer: 0 or more`);
  const counts = granularity === 'run' ? 'run' : 'step';
  const look_buffer = counts === 'step' ? buffer : null;

  const standard = limit({
    name: 'pool.*',
    counts,
    match: { pool: true },
    per: ['pool', ...perDeployment(scope, `${path}.scope`)],
    capacity: capacityOf(pools.default_limit, `${path}.default_limit`),
    look_buffer,
  });
  const named = Object.entries(settings(pools.limits, `${path}.limits`)).map(([pool, value]) => {
    const at = `${path}.limits.${pool}`;
    checkName(pool, at);
    const own = settings(typeof value === 'object' ? value : { limit: value }, at, ['limit', 'scope']);
    const per = perDeployment(own.scope ?? scope, `${at}.scope`);
    const capacity = capacityOf(own.limit, at);
    const name = `pool.${pool}`;
    return limit({ name, counts, match: { pool }, per, capacity, replaces: ['pool.*'], look_buffer });
  });
  const { pools: shares } = settings(branchesValue, branchPath);
  const branches = Object.entries(settings(shares, `${branchPath}.pools`)).map(([pool, value]) => {
    const at = `${branchPath}.pools.${pool}`;
    checkName(pool, at);
    const match = { deployment_kind: 'branch', pool };
    return limit({
      name: `branches.pool.${pool}`,
      counts,
      match,
      capacity: capacityOf(value, at),
      look_buffer,
    });
  });
  return [standard, ...named, ...branches];
}

function perDeployment(scope: unknown, path: string): string[] {
  return oneOf(scope, path, ['all', 'deployment']) === 'deployment' ? ['deployment'] : [];
}

function executorBlock(value: unknown, path: string, prefix: string, block: Partial<Limit>): Limit[] {
  const executor = settings(value, path, ['max_concurrent', 'tag_concurrency_limits']);
  const capacity = capacityOf(executor.max_concurrent, `${path}.max_concurrent`, false);
  const { replaces, ...others } = block;
  const tags: Block = { ...others, prefix, counts: 'step', per: ['run'], zero: false };
  const part_of = [...(block.part_of ?? []), 'max_concurrent'];
  const match = block.match ?? { job: true };
  return [
    limit({ ...block, match, name: prefix, counts: 'step', per: ['run'], capacity, part_of }),
    ...tagLimits(executor, `${path}.tag_concurrency_limits`, tags),
  ];
}

function branchLimits(value: unknown): Limit[] {
  const path = branchPath;
  const total = 'max_concurrent_branch_deployment_runs';
  const single = 'max_concurrent_runs_per_branch_deployment';
  const tags = 'branch_deployment_tag_concurrency_limits';
  const branches = settings(value, path, [total, single, tags, 'pools']);
  const all = capacityOf(branches[total], `${path}.${total}`);
  const each = capacityOf(branches[single], `${path}.${single}`);
  if (all && each !== null && each > all) throw new Refused(`${path}.${single}: above ${total}`);
  const match = { deployment_kind: 'branch' };
  const list = { tag_concurrency_limits: branches[tags] };
  return [
    limit({ name: 'branches', counts: 'run', match, capacity: all }),
    limit({ name: 'branches.each', counts: 'run', match, per: ['deployment'], capacity: each }),
    ...tagLimits(list, `${path}.${tags}`, { prefix: 'branches', counts: 'run', match, zero: true }),
  ];
}

function tagLimits(fields: Fields, path: string, { prefix, zero, ...block }: Block): Limit[] {
  const list = fields.tag_concurrency_limits ?? [];
  if (!Array.isArray(list)) throw new Refused(`${path}: must be a list`);
  const limits = list.map((entry: unknown, place) => {
    const at = `${path}.${place}`;
    const { key, value = {}, limit: slots } = settings(entry, at, ['key', 'value', 'limit']);
    checkName(key, `${at}.key`);
    if (slots === undefined) throw new Refused(`${at}.limit: must be there`);
    const capacity = capacityOf(slots, `${at}.limit`, zero);
    const attribute = `tag.${key}`;
    const name = `${prefix}.tag.${key}`;
    const match = { ...block.match, [attribute]: true as string | true };
    if (typeof value === 'string') {
      checkText(value, `${at}.value`);
      return limit({
        ...block,
        name: `${name}=${written(value)}`,
        match: { ...match, [attribute]: value },
        capacity,
      });
    }
    const { applyLimitPerUniqueValue: unique = false } = settings(value, `${at}.value`, [
      'applyLimitPerUniqueValue',
    ]);
    if (typeof unique !== 'boolean') throw new Refused(`${at}.value.applyLimitPerUniqueValue: true or false`);
    if (!unique) return limit({ ...block, name, match, capacity });
    return limit({ ...block, name: `${name}=*`, match, per: [...(block.per ?? []), attribute], capacity });
  });
  const twice = limits.find(({ name }, place) => limits.findIndex((other) => other.name === name) < place);
  if (twice) throw new Refused(`${path}: ${twice.name} is there twice`);
  return limits;
}

/** A run's own max_concurrent. */
export const builtIn = limit({
  name: 'executor@run',
  source: 'built-in',
  counts: 'step',
  match: { max_concurrent: true },
  per: ['run'],
  capacity: 'max_concurrent',
  replaces: ['max_concurrent'],
});

/** The limits that hold back what matches, under names that are different for each match. */
export function pauseLimits(match: Record<string, string>, counts: Limit['counts'][]): Limit[] {
  return counts.map((counts) => {
    const name = pauseName(counts === 'run' ? 'paused' : 'paused.steps', match);
    return limit({ name, source: pauseName('paused', match), counts, match, capacity: null, override: 0 });
  });
}

export function pauseName(kind: string, match: Record<string, string>): string {
  const parts = Object.entries(match).sort(([a], [b]) => (a < b ? -1 : 1));
  const texts = parts.map(
    ([key, value]) => `${key}=${value.includes('.') ? JSON.stringify(value) : written(value)}`,
  );
  return texts.length > 0 ? `${kind}.${texts.join(',')}` : kind;
}

/** A limit with what it leaves out. */
function limit(fields: Partial<Limit> & Pick<Limit, 'name' | 'counts' | 'capacity'>): Limit {
  const nothing = { match: {}, per: [], replaces: [], part_of: [], look_buffer: null, override: null };
  return { source: 'configuration', ...nothing, ...fields };
}

/** What is not limited has no limit at all, unless it takes the place of another. */
const isThere = ({ capacity, replaces }: Limit): boolean => capacity !== null || replaces.length > 0;
