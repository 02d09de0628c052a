/**
 * Limits as rows, and the keys of a subject under them. Nothing here knows a kind of limit.
 */
export type { Kind } from './format.ts';

/** Of the live `counts` that match, grouped by `per`, never more than `capacity` slots (null: unlimited). */
export type Limit = {
  name: string;
  /** `configuration`, `job`, `built-in`, or the name of a pause. */
  source: string;
  counts: 'run' | 'step';
  /** Attribute → the value it must have; true: any. With `pool`, each pool of a subject is matched on its own. */
  match: Record<string, string | true>;
  per: string[];
  /** A string names the attribute of the subject that holds the number. */
  capacity: number | string | null;
  /** Not null: counts in place of `capacity`. */
  override: number | null;
  /** Names, or groups (`part_of`), of limits that this one switches off for the same subject (and pool). */
  replaces: string[];
  part_of: string[];
  /** Not null: admission looks ahead at this limit's keys, with so much buffer. */
  look_buffer: number | null;
};

/** What a subject takes of a limit: `amount` slots of the key `name`. */
export type Key = { name: string; amount: number; capacity: number; look_buffer: number | null };

type Attributes = Record<string, string>;

/** What a run or step takes: the keys of all limits that match it, less those that another one replaces. */
export function keysOf(
  limits: Limit[],
  subject: { counts: Limit['counts']; attributes: Attributes; pools: Map<string, number> },
): Key[] {
  const { counts, attributes, pools } = subject;
  const ofPools = [...pools].map(([pool, amount]) => ({ attributes: { ...attributes, pool }, amount }));
  return [{ attributes, amount: 1 }, ...ofPools].flatMap(({ attributes, amount }) => {
    const found = limits.filter((limit) => limit.counts === counts && matches(limit, attributes));
    const off = new Set(found.flatMap(({ replaces }) => replaces));
    const on = found.filter(({ name, part_of }) => ![name, ...part_of].some((replaced) => off.has(replaced)));
    return on.flatMap((limit) => keyOf(limit, attributes, amount));
  });
}

function matches({ match }: Limit, attributes: Attributes): boolean {
  const fits = Object.entries(match).every(([name, value]) => {
    return value === true ? name in attributes : attributes[name] === value;
  });
  return fits && 'pool' in match === 'pool' in attributes;
}

/** None: the limit is unlimited. */
function keyOf(limit: Limit, attributes: Attributes, amount: number): Key[] {
  const { name, per, capacity: own, look_buffer } = limit;
  const capacity = limit.override ?? (typeof own === 'string' ? Number(attributes[own]) : own);
  const values = per.map((attribute) => written(attributes[attribute] ?? ''));
  const key = values.length > 0 ? `${name}{${values.join(',')}}` : name;
  return capacity === null ? [] : [{ name: key, amount, capacity, look_buffer }];
}

/** A value as people see it inside the name of a limit or key. */
export function written(value: string): string {
  return /^[A-Za-z0-9_./:@+-]+$/.test(value) ? value : JSON.stringify(value);
}
