/**
 * Random configurations over the words of a world: whole ones and changed ones.
 */
import type { Chance } from './chance.ts';
import { limitsOf } from './config.ts';
import { Refused } from './refusals.ts';
import { randomExecutor, randomLimit, randomTagLimits, type World } from './world.ts';

// biome-ignore lint/suspicious/noExplicitAny: a configuration is JSON that is changed in any place.
export type Config = any;

export function randomConfig(chance: Chance, world: World): Config {
  const config: Config = { concurrency: {} };
  for (const make of sections(chance, world)) if (chance.percent(85)) make(config);
  return config;
}

/** Each makes one section of the configuration anew, or takes it away. */
function sections(chance: Chance, world: World): ((config: Config) => void)[] {
  const { preset } = world;
  const set = (name: string, make: () => object) => (config: Config) => {
    config.concurrency[name] = make();
  };
  const all = [];
  if (preset.runs || preset.runTags)
    all.push(
      set('runs', () => runsBlock(chance, world)),
      ownBlocks,
    );
  if (preset.pools) all.push(set('pools', () => poolsBlock(chance, world)));
  if (preset.executor || preset.stepTags) all.push(set('executor', () => randomExecutor(chance, world)));
  if (preset.deployments) all.push(set('branch_deployments', () => branchesBlock(chance, world)));
  return all;

  function ownBlocks(config: Config): void {
    delete config.deployments;
    const full = Object.keys(world.deployments).filter((name) => world.deployments[name] === 'full');
    if (!preset.deployments) return;
    const own = chance.some(full, 35).map((name) => [name, { runs: runsBlock(chance, world) }]);
    if (own.length > 0) config.deployments = Object.fromEntries(own);
  }
}

function runsBlock(chance: Chance, world: World): object {
  const { runs, runTags } = world.preset;
  return {
    ...(runs && chance.percent(60)
      ? { max_concurrent_runs: chance.percent(70) ? chance.between(2, 6) : randomLimit(chance) }
      : {}),
    ...(runTags && chance.percent(80) ? { tag_concurrency_limits: randomTagLimits(chance, world) } : {}),
  };
}

function poolsBlock(chance: Chance, world: World): object {
  const entries = chance.some(world.pools, 65).map((pool) => [pool, poolLimit(chance)]);
  return {
    ...(chance.percent(50) ? { default_limit: randomLimit(chance) } : {}),
    ...(chance.percent(world.preset.granularityRun)
      ? { granularity: 'run' }
      : chance.percent(20)
        ? { granularity: chance.one(['op', 'step']) }
        : {}),
    ...(chance.percent(25) ? { scope: chance.one(['all', 'deployment']) } : {}),
    ...(chance.percent(50) ? { op_granularity_run_buffer: randomBuffer(chance) } : {}),
    ...(entries.length > 0 ? { limits: Object.fromEntries(entries) } : {}),
  };
}

function poolLimit(chance: Chance): unknown {
  const limit = chance.percent(30) ? chance.between(2, 5) : randomLimit(chance);
  return chance.percent(70)
    ? limit
    : { limit, ...(chance.percent(80) ? { scope: chance.one(['all', 'deployment']) } : {}) };
}

function randomBuffer(chance: Chance): number {
  return chance.one([0, 1, 1, 2, 3, 100]);
}

function branchesBlock(chance: Chance, world: World): object {
  const { runTags, pools } = world.preset;
  const shares = pools ? chance.some(world.pools, 50).map((pool) => [pool, randomLimit(chance)]) : [];
  const all = chance.percent(60) ? chance.one([0, 2, 3, 4, 5, -1]) : undefined;
  const most = all === undefined || all < 1 ? 3 : all;
  return {
    ...(all !== undefined ? { max_concurrent_branch_deployment_runs: all } : {}),
    ...(chance.percent(50) ? { max_concurrent_runs_per_branch_deployment: chance.between(0, most) } : {}),
    ...(runTags && chance.percent(60)
      ? { branch_deployment_tag_concurrency_limits: randomTagLimits(chance, world) }
      : {}),
    ...(shares.length > 0 ? { pools: Object.fromEntries(shares) } : {}),
  };
}

/** Another valid configuration: one thing changed, several, or all. */
export function changedConfig(chance: Chance, world: World, config: Config): Config {
  for (;;) {
    const changed = structuredClone(config);
    const times = chance.one([1, 1, 1, 2, 4]);
    for (let time = 0; time < times; time += 1) change(chance, world, changed);
    if (refusalOf(changed, world) === undefined) return changed;
  }
}

function change(chance: Chance, world: World, config: Config): void {
  const { concurrency } = config;
  const { pools } = concurrency;
  const { granularityRun } = world.preset;
  const kinds = { number: 40, section: pools ? 20 : 40, remove: 6, anew: 4 };
  const ofPools = { pool: 12, scope: 6, buffer: 8, granularity: granularityRun / 3 };
  const changes: Record<keyof typeof kinds | keyof typeof ofPools, () => void> = {
    number: () => changeNumber(chance, config),
    section: () => chance.one(sections(chance, world))(config),
    remove: () => delete concurrency[chance.one([...Object.keys(concurrency), 'none'])],
    anew: () => {
      delete config.deployments;
      Object.assign(config, randomConfig(chance, world));
    },
    pool: () => changePool(chance, chance.one(world.pools), pools),
    scope: () => {
      pools.scope = pools.scope === 'deployment' ? 'all' : 'deployment';
    },
    buffer: () => {
      pools.op_granularity_run_buffer = randomBuffer(chance);
    },
    granularity: () => {
      pools.granularity = pools.granularity === 'run' ? chance.one(['step', 'op']) : 'run';
    },
  };
  changes[
    chance.weighted(
      pools ? { ...kinds, ...ofPools } : { ...kinds, pool: 0, scope: 0, buffer: 0, granularity: 0 },
    )
  ]();
}

/** Gives a pool a limit of its own, or takes it away. */
function changePool(chance: Chance, pool: string, pools: Config): void {
  pools.limits ??= {};
  if (pool in pools.limits && chance.percent(50)) delete pools.limits[pool];
  else pools.limits[pool] = poolLimit(chance);
}

/** Never made unlimited: FORMAT.md does not say whether that is above the limit of all branches. */
const single = 'max_concurrent_runs_per_branch_deployment';

function changeNumber(chance: Chance, config: Config): void {
  const places = numbersIn(config);
  if (places.length === 0) return;
  const { parent, name, zero } = chance.one(places);
  parent[name] = name === single ? chance.between(0, 3) : randomLimit(chance, zero);
}

/** Every place that holds a limit. */
function numbersIn(value: Config, zero = true): { parent: Config; name: string; zero: boolean }[] {
  return Object.entries(value ?? {}).flatMap(([name, inner]) => {
    if (name === 'op_granularity_run_buffer') return [];
    if (typeof inner === 'number' || inner === null) return [{ parent: value, name, zero }];
    return typeof inner === 'object' ? numbersIn(inner, zero && name !== 'executor') : [];
  });
}

/** Why the configuration must be refused; undefined if it is valid. */
export function refusalOf(config: unknown, { deployments }: World): string | undefined {
  try {
    limitsOf(config, deployments);
    return undefined;
  } catch (error) {
    if (error instanceof Refused) return error.message;
    throw error;
  }
}
