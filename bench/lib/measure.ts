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

/**
 * Measures a case `context.repeats` times with each system (a peer once if quick), in turn, so that what else the machine
 * does falls on all alike. `ratio` is ours ÷ theirs, the median of the pairs of each round; ours itself has none.
 */
export async function repeat(
  context: Context,
  what: Pick<Result, 'bench' | 'case' | 'unit'>,
  systems: readonly System[],
  once: (place: Place) => Promise<Sample>,
): Promise<Result[]> {
  const samples = new Map<string, Sample[]>(systems.map(({ name }) => [name, []]));
  for (let round = 1; round <= context.repeats; round += 1) {
    for (const system of systems.filter(({ name }) => round <= repeatsOf(context, name))) {
      const sample = await inPlace(context, system, once);
      samples.get(system.name)?.push(sample);
      context.say(
        `${what.case}: ${system.name}: ${sample.value.toPrecision(4)} ${what.unit} (${round}/${repeatsOf(context, system.name)})`,
      );
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
