/**
 * A small random world for a scenario: its words (pools, tags, deployments), workers and jobs.
 * Words are few, so that subjects meet at the same keys.
 */
import type { Chance } from './chance.ts';
import type { Kind } from './limits.ts';
import type { Setting } from './model.ts';
import type { JobDefinition, StepDefinition } from './run.ts';

/** What a scenario is about. A part that is off is never configured nor used. */
export type Preset = {
  runs: boolean;
  runTags: boolean;
  pools: boolean;
  /** How likely, of 100, pools count by run. */
  granularityRun: number;
  executor: boolean;
  stepTags: boolean;
  deployments: boolean;
  /** Crashes, lost steps and timeouts are many. */
  trouble: boolean;
};

const none: Preset = {
  runs: false,
  runTags: false,
  pools: false,
  granularityRun: 10,
  executor: false,
  stepTags: false,
  deployments: false,
  trouble: false,
};
const everything: Preset = {
  runs: true,
  runTags: true,
  pools: true,
  granularityRun: 30,
  executor: true,
  stepTags: true,
  deployments: true,
  trouble: false,
};

export const presets = {
  all: everything,
  pools: { ...none, pools: true, runs: true, granularityRun: 0 },
  tags: { ...none, runTags: true, stepTags: true, runs: true },
  'all-in-trouble': { ...everything, trouble: true },
  executor: { ...none, executor: true, stepTags: true, pools: true },
  granularity: { ...none, pools: true, runs: true, granularityRun: 50, deployments: true },
  branches: { ...none, runs: true, runTags: true, pools: true, deployments: true },
  trouble: { ...none, pools: true, runs: true, executor: true, trouble: true },
} satisfies Record<string, Preset>;

export type PresetName = keyof typeof presets;

export type World = {
  preset: Preset;
  pools: string[];
  /** Key → its values; the same keys for runs and for steps, so that one leaking into the other shows. */
  tags: Record<string, string[]>;
  deployments: Record<string, Kind>;
};

const oddValues = ['*', '', 'a b', 'é', 'say "x"', 'a,b', '{a}', 'back\\slash', 'line\nend', '🙂', 'a@b+c'];

export function randomWorld(chance: Chance, preset: Preset): World {
  const plain = {
    customer: ['acme', 'beta', 'cobra'],
    size: ['big', 'small'],
    'team.x/y:z': ['red', 'blue'],
  };
  const odd = chance.percent(15);
  const keys = chance.shuffled(Object.keys(plain) as (keyof typeof plain)[]).slice(0, chance.between(2, 3));
  const values = (key: keyof typeof plain) =>
    odd ? [chance.one(oddValues), ...plain[key].slice(1)] : plain[key];
  const others: [string, Kind][] = [
    ['staging', 'full'],
    ['pr-1', 'branch'],
    ['pr-2', 'branch'],
  ];
  return {
    preset,
    pools: chance.shuffled(['db', 'api', 'gpu', 'aws:s3/eu-1.x']).slice(0, chance.between(2, 4)),
    tags: Object.fromEntries(keys.map((key) => [key, values(key)])),
    deployments: Object.fromEntries([
      ['default', 'full' as Kind],
      ...(preset.deployments ? chance.some(others, 80) : []),
    ]),
  };
}

/** Small rooms, mostly: what waits for a worker must be seen too. */
export function randomWorkers(chance: Chance, world: World, jobs: string[]): Setting['workers'] & object {
  const names = ['w1', 'w2', 'w3', 'w4'].slice(
    0,
    chance.between(world.preset.trouble ? 2 : 1, world.preset.trouble ? 4 : 3),
  );
  const room = () => chance.one([1, 2, 4, 8, 50, 100, 100, 1000]);
  const worker = (first: boolean) => {
    if (!chance.percent(35)) return room();
    const known = first ? jobs : chance.some(jobs, 60);
    return { room: room(), jobs: known.length > 0 && chance.percent(90) ? known : [chance.one(jobs)] };
  };
  return Object.fromEntries(names.map((name, place) => [name, worker(place === 0)]));
}

export function randomJobs(chance: Chance, world: World): Record<string, JobDefinition> {
  const names = ['load', 'report', 'train', 'sync', 'ping'].slice(0, chance.between(2, 5));
  return Object.fromEntries(names.map((name) => [name, randomJob(chance, world)]));
}

function randomJob(chance: Chance, world: World): JobDefinition {
  const names = chance.shuffled(['a', 'b', 'c', 'd', 'e']).slice(0, chance.one([1, 1, 2, 3, 3, 4, 4, 5]));
  const likely = chance.one([0, 0, 30, 60]);
  const steps = names.map((name, place): [string, StepDefinition] => {
    const after = chance.some(names.slice(0, place), likely);
    return [name, { ...(after.length > 0 ? { after } : {}), ...randomStep(chance, world) }];
  });
  const listed = chance.percent(15) ? chance.shuffled(steps) : steps;
  const own = world.preset.executor && chance.percent(35);
  return {
    ...(own ? { executor: randomExecutor(chance, world) } : {}),
    steps: Object.fromEntries(listed),
  };
}

function randomStep(chance: Chance, world: World): StepDefinition {
  const { preset } = world;
  const step: StepDefinition = {};
  if (preset.pools && chance.percent(60)) {
    const pools = chance.shuffled(world.pools).slice(0, chance.between(1, 2));
    const first = pools[0] as string;
    step.pool = chance.percent(60)
      ? first
      : Object.fromEntries(pools.map((pool) => [pool, chance.one([1, 1, 1, 2, 2, 3])]));
  }
  if (preset.stepTags && chance.percent(80)) step.tags = randomTags(chance, world);
  if (chance.percent(25)) step.priority = chance.percent(5) ? 2147483647 : chance.between(-2, 3);
  if (chance.percent(preset.trouble ? 60 : 25)) step.max_attempts = chance.between(2, 3);
  if (chance.percent(preset.trouble ? 40 : 10)) step.max_losses = chance.between(0, 2);
  if (chance.percent(preset.trouble ? 45 : 15))
    step.timeout = chance.one([1, 600, 600, 700, 1200, 1500, 3600]);
  return step;
}

/** Some tags of the world's, for a run or a step. */
export function randomTags(chance: Chance, world: World): Record<string, string> {
  const keys = chance.some(Object.keys(world.tags), 60);
  return Object.fromEntries(keys.map((key) => [key, chance.one(world.tags[key] as string[])]));
}

/** Small capacities; rarely unlimited; 0 where it is allowed. */
export function randomLimit(chance: Chance, zero = true): number | null {
  return chance.one([1, 1, 1, 1, 2, 2, 2, 2, 3, 3, 4, 6, -1, null, zero ? 0 : 1]);
}

/** The three forms of a tag limit, none twice. */
export function randomTagLimits(chance: Chance, world: World, zero = true): object[] {
  const forms = Object.entries(world.tags).flatMap(([key, values]) => [
    chance.percent(80) ? { key } : { key, value: { applyLimitPerUniqueValue: false } },
    { key, value: { applyLimitPerUniqueValue: true } },
    ...values.map((value) => ({ key, value })),
  ]);
  const chosen = chance.shuffled(forms).slice(0, chance.between(1, 4));
  return chosen.map((form) => ({ ...form, limit: randomLimit(chance, zero) }));
}

export function randomExecutor(chance: Chance, world: World): object {
  return {
    ...(chance.percent(60) ? { max_concurrent: randomLimit(chance, false) } : {}),
    ...(world.preset.stepTags && chance.percent(75)
      ? { tag_concurrency_limits: randomTagLimits(chance, world, false) }
      : {}),
  };
}
