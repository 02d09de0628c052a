/**
 * Submissions and configurations with one thing wrong, and what the error must contain.
 */
import type { Chance } from './chance.ts';
import { type Config, changedConfig } from './settings.ts';
import type { World } from './world.ts';

/** Fields that spoil any submission. */
export function brokenField(chance: Chance, world: World): { rejected: string } {
  const key = chance.one(Object.keys(world.tags));
  return chance.one([
    { job: 'nothing', rejected: 'job' },
    { deployment: 'nowhere', rejected: 'deployment' },
    { priority: chance.one([1.5, 'high', 2147483648, -2147483649]), rejected: 'priority' },
    { max_concurrent: chance.one([0, -2, 1.5, 'two']), rejected: 'max_concurrent' },
    { tags: { [key]: chance.one([5, null, true, ['x'], { x: 'y' }, 'a\0b', '\ud800']) }, rejected: key },
    { tags: { 'my key': 'x' }, rejected: 'tag' },
  ]);
}

/** A valid configuration with one thing wrong, and what the error must contain. */
export function brokenConfig(
  chance: Chance,
  world: World,
  config: Config,
): { apply: Config; rejected: string } {
  const apply = changedConfig(chance, world, config);
  const { rejected, at, fields } = chance.one([
    ...wrongNumbers(chance),
    ...wrongLists(world),
    ...wrongNames(world),
  ]);
  let block = apply;
  for (const name of at) block = block[name] ??= {};
  Object.assign(block, fields);
  return { apply, rejected };
}

/** `fields` put into the block at this path spoil any configuration. */
type Wrong = { rejected: string; at: string[]; fields: Record<string, unknown> };

const runs = ['concurrency', 'runs'];
const pools = ['concurrency', 'pools'];
const executor = ['concurrency', 'executor'];
const branches = ['concurrency', 'branch_deployments'];

function wrongNumbers(chance: Chance): Wrong[] {
  const wrong = chance.one([-2, -7, 1.5, 'many']);
  const above = { max_concurrent_branch_deployment_runs: 1, max_concurrent_runs_per_branch_deployment: 2 };
  return [
    { rejected: 'max_concurrent_runs', at: runs, fields: { max_concurrent_runs: wrong } },
    { rejected: 'default_limit', at: pools, fields: { default_limit: wrong } },
    { rejected: 'db', at: [...pools, 'limits'], fields: { db: wrong } },
    { rejected: 'api', at: [...branches, 'pools'], fields: { api: wrong } },
    { rejected: 'max_concurrent', at: executor, fields: { max_concurrent: chance.one([0, wrong]) } },
    { rejected: 'max_concurrent_runs_per_branch_deployment', at: branches, fields: above },
  ];
}

function wrongLists(world: World): Wrong[] {
  const key = Object.keys(world.tags)[0];
  const list = (rejected: string, at: string[], ...limits: object[]): Wrong => {
    return { rejected, at, fields: { tag_concurrency_limits: limits } };
  };
  const twice = 'tag_concurrency_limits';
  return [
    list(twice, runs, { key, limit: 1 }, { key, limit: 2 }),
    list(twice, runs, { key, limit: 1 }, { key, value: { applyLimitPerUniqueValue: false }, limit: 1 }),
    list(twice, executor, { key, value: 'x', limit: 1 }, { key, value: 'x', limit: 1 }),
    list('limit', runs, { key }),
    list('limit', executor, { key, limit: 0 }),
    list('key', runs, { key: 'my key', limit: 1 }),
  ];
}

function wrongNames(world: World): Wrong[] {
  const branch = Object.keys(world.deployments).find((name) => world.deployments[name] === 'branch');
  return [
    { rejected: 'granularity', at: pools, fields: { granularity: 'job' } },
    { rejected: 'scope', at: pools, fields: { scope: 'branch' } },
    { rejected: 'pools', at: [...pools, 'limits'], fields: { 'my pool': 1 } },
    { rejected: 'max_runs', at: runs, fields: { max_runs: 1 } },
    { rejected: 'queue', at: ['concurrency'], fields: { queue: {} } },
    { rejected: 'deployment', at: ['deployments'], fields: { [branch ?? 'nowhere']: { runs: {} } } },
  ];
}
