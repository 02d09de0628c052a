/**
 * Limits as rows, and the keys of a subject under them. Nothing here knows a kind of limit.
 */

/** Of the live `counts` that match, grouped by `per`, never more than `capacity` slots (null: unlimited). */
export type Limit = {
  name: string;
  counts: 'run' | 'step';
  /** Attribute → the value it must have; true: any value. `pool` gives one key for each pool that matches. */
  match: Record<string, string | true>;
  per: string[];
  /** A string names the attribute of the subject that holds the number. */
  capacity: number | string | null;
  /** Names, or groups (`part_of`), of limits that this one switches off for the same subject (and pool). */
  replaces: string[];
  part_of: string[];
  /** Not null: admission looks ahead at this limit's keys, with so much buffer. */
  look_buffer: number | null;
};

/** A run or a step, as limits see it. `pools`: slots asked of each pool. */
export type Subject = {
  counts: 'run' | 'step';
  attributes: Map<string, string>;
  pools: Map<string, number>;
};

/** What a subject takes of a limit: `amount` slots of the key `name`. */
export type Key = { name: string; amount: number; capacity: number; look_buffer: number | null };

export type Kind = 'full' | 'branch';

/** What the subject takes: the keys of all limits that match it, less those that another one replaces. */
export function keysOf(limits: Limit[], subject: Subject): Key[] {
  const found = limits.flatMap((limit) => matchesOf(limit, subject));
  const replaced = (match: Match) =>
    found.some(
      ({ limit, pool }) =>
        (pool === undefined || pool === match.pool) &&
        limit.replaces.some((name) => name === match.limit.name || match.limit.part_of.includes(name)),
    );
  return found.flatMap((match) => {
    const { limit, pool, amount } = match;
    const given =
      typeof limit.capacity === 'string' ? Number(subject.attributes.get(limit.capacity)) : limit.capacity;
    if (given === null || given === -1 || replaced(match)) return [];
    const values = limit.per.map((attribute) => written(groupOf(subject, attribute, pool)));
    const name = limit.per.length > 0 ? `${limit.name}{${values.join(',')}}` : limit.name;
    return [{ name, amount, capacity: given, look_buffer: limit.look_buffer }];
  });
}

type Match = { limit: Limit; pool?: string; amount: number };

function matchesOf(limit: Limit, subject: Subject): Match[] {
  const { pool: wanted, ...attributes } = limit.match;
  const matches = Object.entries(attributes).every(([attribute, value]) => {
    const has = subject.attributes.get(attribute);
    return has !== undefined && (value === true || value === has);
  });
  if (!matches || limit.counts !== subject.counts) return [];
  if (wanted === undefined) return [{ limit, amount: 1 }];
  const pools = [...subject.pools].filter(([pool]) => wanted === true || wanted === pool);
  return pools.map(([pool, amount]) => ({ limit, pool, amount }));
}

function groupOf(subject: Subject, attribute: string, pool: string | undefined): string {
  return (attribute === 'pool' ? pool : subject.attributes.get(attribute)) ?? '';
}

/** A value as people see it inside the name of a limit or key. */
export function written(value: string): string {
  return /^[A-Za-z0-9_./:@+-]+$/.test(value) ? value : JSON.stringify(value);
}
