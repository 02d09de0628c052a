/** Which keys a run or a step takes, worked out anew from the rows of the view `lockkeeper.limits`. */

/** One row of the view. */
export type Limit = {
  name: string;
  counts: 'run' | 'step';
  match: Record<string, string | true>;
  per: string[];
  capacity: number | null;
  capacity_attribute: string | null;
  replaces: string[];
  part_of: string[];
  /** Not null: admission looks ahead at the keys of this limit. */
  look_buffer: number | null;
};

/** What the limits look at: attributes such as `job` and `tag.size`, and the slots asked of each pool. */
export type Subject = {
  counts: 'run' | 'step';
  attributes: Record<string, string>;
  pools: Record<string, number>;
};

/** Slots that a subject takes of a key while it is live. */
export type Taken = { key: string; amount: number; capacity: number };

type Hit = { limit: Limit; pool: string | undefined };

/** All that the subject takes, in the order of the limits. */
export function keysOf(limits: readonly Limit[], subject: Subject): Taken[] {
  const sameKind = limits.filter(({ counts }) => counts === subject.counts);
  const hits = sameKind.flatMap((limit) =>
    poolsFor(limit, subject)
      .filter((pool) => matches(limit, attributesWith(subject, pool)))
      .map((pool): Hit => ({ limit, pool })),
  );
  return hits
    .filter((hit) => !hits.some((other) => replaces(other, hit)))
    .flatMap((hit) => takenBy(hit, subject));
}

/** A limit that speaks of pools looks at each pool of the subject, any other one once at the subject. */
function poolsFor(limit: Limit, subject: Subject): (string | undefined)[] {
  const aboutPools = 'pool' in limit.match || limit.per.includes('pool');
  return aboutPools ? Object.keys(subject.pools) : [undefined];
}

function attributesWith(subject: Subject, pool: string | undefined): Record<string, string> {
  return pool === undefined ? subject.attributes : { ...subject.attributes, pool };
}

function matches({ match, per, capacity_attribute }: Limit, attributes: Record<string, string>): boolean {
  const needed = [...per, ...(capacity_attribute === null ? [] : [capacity_attribute])];
  return (
    needed.every((name) => Object.hasOwn(attributes, name)) &&
    Object.entries(match).every(([name, value]) =>
      value === true ? Object.hasOwn(attributes, name) : attributes[name] === value,
    )
  );
}

function replaces(one: Hit, other: Hit): boolean {
  const named = [other.limit.name, ...other.limit.part_of];
  return (
    one !== other &&
    (one.pool === undefined || one.pool === other.pool) &&
    one.limit.replaces.some((name) => named.includes(name))
  );
}

function takenBy({ limit, pool }: Hit, subject: Subject): Taken[] {
  const attributes = attributesWith(subject, pool);
  const { capacity_attribute: named } = limit;
  const capacity = named === null ? limit.capacity : Number(attributes[named]);
  if (capacity === null) return [];
  const values = limit.per.map((name) => written(attributes[name] ?? ''));
  const key = values.length === 0 ? limit.name : `${limit.name}{${values.join(',')}}`;
  return [{ key, capacity, amount: pool === undefined ? 1 : (subject.pools[pool] ?? 1) }];
}

/** As Lockkeeper writes values in the names of keys. */
const written = (value: string) => (/^[A-Za-z0-9_./:@+-]+$/.test(value) ? value : JSON.stringify(value));
