/** A case that each system does in turn, each time in a new database. */

import { join } from 'node:path';
import type { Context, Item, Result, System, Work } from '../types.ts';
import { median, ratioOfPairs, spread } from './stats.ts';

/** What one measurement gives. */
export type Sample = { value: number; overshoot: number | null };

/** Where one measurement is made. */
export type Place = {
  system: System;
  /** Of a new database, in which the system is migrated. */
  url: string;
  /** Free to use. */
  folder: string;
};

/** Runs `use` in a new database, which is dropped afterwards. */
export async function inPlace<T>(
  context: Context,
  system: System,
  use: (place: Place) => Promise<T>,
): Promise<T> {
  const { url, drop } = await context.server.database(system.name, system.template);
  places += 1;
  try {
    return await use({ system, url, folder: join(context.folder, String(places)) });
  } finally {
    await drop();
  }
}

let places = 0;

/** How often a system is measured: ours each time, the peers only once if quick. */
export const repeatsOf = ({ quick, repeats }: Context, system: string): number =>
  quick && system !== 'lockkeeper' ? 1 : repeats;

/** Measures so many times in one place, in processes that go on from one time to the next. */
export type Measure = (place: Place, times: number) => Promise<Sample[]>;

/**
 * Measures a case `context.repeats` times with each system, in turn and each time in a new place, so that what else the
 * machine does falls on all alike. If quick, a system gets one place for all its repeats, and a peer has only one. `ratio` is ours ÷ theirs, the median of the pairs of each round; ours itself has none.
 */
export async function repeat(
  context: Context,
  what: Pick<Result, 'bench' | 'case' | 'unit'>,
  systems: readonly System[],
  measure: Measure,
): Promise<Result[]> {
  const samples = new Map<string, Sample[]>(systems.map(({ name }) => [name, []]));
  for (let round = 1; round <= (context.quick ? 1 : context.repeats); round += 1) {
    for (const system of systems) {
      const times = context.quick ? repeatsOf(context, system.name) : 1;
      const seen = await inPlace(context, system, (place) => measure(place, times));
      samples.get(system.name)?.push(...seen);
      const values = seen.map(({ value }) => value.toPrecision(4)).join(', ');
      context.say(`${what.case}: ${system.name}: ${values} ${what.unit}`);
    }
  }
  const ours = samples.get('lockkeeper')?.map(({ value }) => value);
  return [...samples].map(([system, all]) => {
    const values = all.map(({ value }) => value);
    const ratio =
      ours && system !== 'lockkeeper' ? ratioOfPairs(ours.slice(0, values.length), values).median : null;
    return { ...what, system, value: median(values), spread: spread(values), overshoot: mostOf(all), ratio };
  });
}

/** The worst of all rounds. */
function mostOf(samples: readonly Sample[]): number | null {
  const seen = samples.flatMap(({ overshoot }) => overshoot ?? []);
  return seen.length === 0 ? null : Math.max(...seen);
}

/** Items for a system, and the processes that work on them. */
export type Load = { work: Work; items: readonly Item[]; processes: number; room: number };
