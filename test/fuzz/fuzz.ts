/** Sequences of random commands on model and product: found, shrunk, replayed, reported. */
import fc from 'fast-check';
import { Chance } from '../model/chance.ts';
import type { Setting } from '../model/model.ts';
import { randomConfig } from '../model/settings.ts';
import {
  type PresetName,
  presets,
  randomJobs,
  randomWorkers,
  randomWorld,
  type World,
} from '../model/world.ts';
import { type Action, inWords } from './actions.ts';
import { Both } from './both.ts';
import { type Command, commandLists } from './commands.ts';
import type { Product } from './product.ts';
import { type Here, resolve } from './resolve.ts';

/** A failure as it was played: all that is needed to play it again. */
export class Difference extends Error {
  readonly setting: Setting;
  readonly actions: Action[];
  readonly lines: string[];

  constructor(setting: Setting, actions: Action[], lines: string[]) {
    super([...actions.map(inWords), ...lines].join('\n'));
    this.setting = setting;
    this.actions = actions;
    this.lines = lines;
  }
}

export const presetNames = Object.keys(presets) as PresetName[];

/** What one look for failures came to. */
export type Looked = {
  sequences: number;
  actions: number;
  /** `path`: where fast-check found it, and how it came to the least. */
  failure?: { seed: number; path: string; difference: Difference };
};

export type LookOptions = {
  seed: number;
  sequences: number;
  /** Most commands of one sequence. */
  length: number;
  /** Left out: each in its turn. */
  preset?: PresetName | undefined;
  /** Of a failure found before. */
  path?: string | undefined;
  /** So long it shrinks what it has found, in milliseconds. */
  shrinking: number;
  /** Asked before each sequence: true begins no more, while none has failed. */
  over?: () => boolean;
};

/** Plays sequences until one fails, and shrinks that. */
export async function look(product: Product, options: LookOptions): Promise<Looked> {
  let actions = 0;
  let sequences = 0;
  let least: Difference | undefined;
  const { seed, path, length, preset, shrinking } = options;
  let found = 0;
  const preset$ = preset === undefined ? fc.constantFrom(...presetNames) : fc.constant(preset);
  const property = fc.asyncProperty(
    fc.noShrink(fc.noBias(preset$)),
    fc.noShrink(fc.noBias(fc.nat())),
    commandLists(length),
    async (name, world, commands) => {
      // To shrink no further, all that is smaller passes.
      if (least ? milliseconds() > found + shrinking : options.over?.()) return;
      if (!least) sequences += 1;
      const difference = await playSequence(product, name, world, commands, () => {
        if (!least) actions += 1;
      });
      if (!difference) return;
      if (!least) found = milliseconds();
      least = difference;
      throw difference;
    },
  );
  const report = await fc.check(property, {
    seed,
    numRuns: options.sequences,
    ...(path === undefined ? {} : { path }),
  });
  const { counterexamplePath, errorInstance } = report;
  if (!report.failed) return { sequences, actions };
  if (!(errorInstance instanceof Difference)) throw errorInstance ?? new Error('nothing was played');
  return {
    sequences,
    actions,
    failure: { seed, path: counterexamplePath ?? '', difference: least ?? errorInstance },
  };
}

/** Of a clock that only counts. */
function milliseconds(): number {
  return Number(process.hrtime.bigint() / 1_000_000n);
}

/** A world by its number: words, jobs, workers, configuration. */
function settingOf(preset: PresetName, number: number): { world: World; setting: Setting } {
  const chance = new Chance(number);
  const world = randomWorld(chance, presets[preset]);
  const jobs = randomJobs(chance, world);
  const config = randomConfig(chance, world);
  const workers = randomWorkers(chance, world, Object.keys(jobs));
  return { world, setting: { config, deployments: world.deployments, workers, jobs } };
}

async function playSequence(
  product: Product,
  preset: PresetName,
  number: number,
  commands: Command[],
  onAction: () => void,
): Promise<Difference | undefined> {
  const { world, setting } = settingOf(preset, number);
  const both = await Both.begin(product, setting);
  const here: Here = {
    world,
    model: both.model,
    config: setting.config,
    keyed: both.keyed,
    named: 0,
    sent: false,
  };
  const actions: Action[] = [];
  for (const command of commands) {
    here.sent = both.sent !== undefined;
    const action = resolve(command, here);
    if (!action) continue;
    actions.push(action);
    onAction();
    const lines = await playSafely(both, action);
    if (lines.length > 0) return new Difference(setting, actions, lines);
    if (action.do === 'apply' && action.rejected === undefined) here.config = action.config;
  }
  return undefined;
}

/** An error is a difference too: neither may fail where it is not to be refused. */
async function playSafely(both: Both, action: Action): Promise<string[]> {
  try {
    return await both.play(action);
  } catch (error) {
    return [error instanceof Error ? `error: ${error.message}` : String(error)];
  }
}

/** Plays actions as they are; answers what differs after the last one that was played, and which that was. */
export async function replay(
  product: Product,
  setting: Setting,
  actions: Action[],
): Promise<Difference | undefined> {
  const both = await Both.begin(product, setting);
  for (const [place, action] of actions.entries()) {
    const lines = await playSafely(both, action);
    if (lines.length > 0) return new Difference(setting, actions.slice(0, place + 1), lines);
  }
  return undefined;
}
