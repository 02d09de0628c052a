/**
 * The reference model agrees with every scenario file, and with what the generator writes for the database.
 */
import { describe, expect, it } from 'vitest';
import { check, readScenario, type Scenario, scenarioFiles } from './check.ts';
import { generate } from './generate.ts';
import { type PresetName, presets } from './world.ts';

describe('the reference model', () => {
  it.each(scenarioFiles([`${import.meta.dirname}/../scenarios`]))('plays %s', (file) => {
    expect(check(readScenario(file))).toEqual([]);
  });

  it.each(Object.keys(presets) as PresetName[])('plays a random scenario about %s', (preset) => {
    const scenario = generate(7, 40, preset);
    expect(generate(7, 40, preset)).toEqual(scenario);
    expect(check(JSON.parse(JSON.stringify(scenario)) as Scenario)).toEqual([]);
  });
});
