/**
 * Writes random scenario files: a small world, random events on the reference model, and after most of them
 * the model's whole snapshot as what must be seen. The same seed writes the same file.
 *
 *   node test/model/generate.ts --seed 1 --count 300 --events 60 --out DIR [--preset NAME]
 *
 * Left out, because FORMAT.md leaves the answer open: what a crashed worker says of an attempt that has not been
 * taken from it, and the repeat of a call that ended an attempt.
 */
import { mkdirSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { parseArgs } from 'node:util';
import { Chance } from './chance.ts';
import type { Scenario } from './check.ts';
import { Model } from './model.ts';
import { randomConfig } from './settings.ts';
import { Story } from './story.ts';
import { type PresetName, presets, randomJobs, randomWorkers, randomWorld } from './world.ts';

/** One scenario of about so many events, `expect` not counted. */
export function generate(seed: number, events: number, presetName: PresetName): Scenario {
  const chance = new Chance(seed);
  const world = randomWorld(chance, presets[presetName]);
  const jobs = randomJobs(chance, world);
  const config = randomConfig(chance, world);
  const workers = randomWorkers(chance, world, Object.keys(jobs));
  const setting = { config, deployments: world.deployments, workers, jobs };
  const story = new Story(chance, world, new Model(setting), config);
  while (story.length < events) story.goOn();
  story.end();
  return {
    name: `random-${seed}-${presetName}`,
    mechanisms: [presetName],
    source: `test/model/generate.ts --seed ${seed} --events ${events}`,
    why: 'Any mix of limits and events must be seen just as the reference model sees it.',
    ...setting,
    events: story.events,
  };
}

/** The file's text: an event to a line. */
function written({ events, ...head }: Scenario): string {
  const lines = Object.entries(head).map(
    ([name, value]) => `  ${JSON.stringify(name)}: ${JSON.stringify(value)},`,
  );
  const told = events.map((event) => `    ${JSON.stringify(event)}`);
  return `{\n${lines.join('\n')}\n  "events": [\n${told.join(',\n')}\n  ]\n}\n`;
}

function wholeNumber(text: string, name: string): number {
  if (!/^\d+$/.test(text)) throw new Error(`--${name} ${text}: must be a whole number, as 60`);
  return Number(text);
}

/** The preset of a seed: given, or each in turn. */
function presetOf(seed: number, given: string | undefined): PresetName {
  const names = Object.keys(presets) as PresetName[];
  const name = given === undefined ? names[seed % names.length] : names.find((name) => name === given);
  if (name === undefined) throw new Error(`--preset ${given}: must be one of ${names.join(', ')}`);
  return name;
}

if (import.meta.main) {
  const { values } = parseArgs({
    options: {
      seed: { type: 'string', default: '1' },
      count: { type: 'string', default: '1' },
      events: { type: 'string', default: '60' },
      out: { type: 'string' },
      preset: { type: 'string' },
    },
  });
  const { out } = values;
  if (out === undefined)
    throw new Error('usage: node test/model/generate.ts --seed 1 --count 300 --events 60 --out DIR');
  const first = wholeNumber(values.seed, 'seed');
  const count = wholeNumber(values.count, 'count');
  const events = wholeNumber(values.events, 'events');
  mkdirSync(out, { recursive: true });
  for (let seed = first; seed < first + count; seed += 1) {
    const scenario = generate(seed, events, presetOf(seed, values.preset));
    writeFileSync(join(out, `${scenario.name}.json`), written(scenario));
  }
  console.log(`${count} files in ${out}`);
}
