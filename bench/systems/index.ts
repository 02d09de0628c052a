/** All systems under test. A process loads only the one that it works for. */

import type { System } from '../types.ts';

/** A file of systems exports `systems`; the name of each begins with the name that its file has here. */
type Family = { systems: readonly System[] };

const families: Readonly<Record<string, () => Promise<Family>>> = {
  lockkeeper: () => import('./lockkeeper.ts'),
  'pg-boss': () => import('./pg-boss.ts'),
  DBOS: () => import('./dbos.ts'),
  'graphile-worker': () => import('./graphile.ts'),
};

/** The system of this name, such as `lockkeeper` or `pg-boss, 4 × batch 10`. */
export async function systemNamed(name: string): Promise<System> {
  const { systems } = await familyOf(name);
  const system = systems.find((each) => each.name === name);
  if (!system)
    throw new Error(`There is no system "${name}" beside ${systems.map((each) => each.name).join(' | ')}.`);
  return system;
}

/** Ours first, then the peers. */
export async function allSystems(): Promise<System[]> {
  const all = await Promise.all(Object.values(families).map((family) => family()));
  return all.flatMap(({ systems }) => systems);
}

function familyOf(name: string): Promise<Family> {
  const family = families[name.split(',')[0] ?? ''];
  if (!family)
    throw new Error(`No file has systems like "${name}"; there are ${Object.keys(families).join(', ')}.`);
  return family();
}
