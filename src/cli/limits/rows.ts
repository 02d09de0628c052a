/** Rows of the views `limits`, `keys` and `slots`, as --json prints them, and as people read them. */

import { InvalidInputError } from '../../errors.ts';
import type { Lockkeeper } from '../../lockkeeper.ts';
import { nearest } from '../../schema/problems.ts';
import { select } from '../connect.ts';
import type { Column } from '../table.ts';
import { line } from '../text.ts';

export type Match = Record<string, string | true>;

export type LimitRow = {
  name: string;
  counts: 'run' | 'step';
  match: Match;
  per: string[];
  /** What counts: the override, if there is one. */
  capacity: number | null;
  capacity_attribute: string | null;
  override: number | null;
  /** `configuration`, `built-in`, `user`, `pause`, or `job <name>` for a job's own `executor` block. */
  source: string;
  replaces: string[];
  look_buffer: number | null;
  configured: number | null;
  override_by: string | null;
  override_why: string | null;
  override_at: Date | null;
  override_until: Date | null;
};

const limitColumns = `name, counts, match, per, capacity, capacity_attribute, override, source, replaces, look_buffer,
  configured, override_by, override_why, override_at, override_until`;

/** The shape of a limit in what --json prints. */
export const limitJson = `{ "name": "pool.warehouse", "counts": "step", "match": { "pool": "warehouse" }, "per": [], "capacity": 0,
  "capacity_attribute": null, "override": 0, "source": "configuration", "replaces": ["pool.*"], "look_buffer": 0,
  "configured": 5, "override_by": "ana", "override_why": "…", "override_at": "…", "override_until": null }`;

/** All limits, or those of one name. */
export function readLimits(lockkeeper: Lockkeeper, name?: string): Promise<LimitRow[]> {
  return select<LimitRow>(
    lockkeeper,
    `select ${limitColumns} from lockkeeper.limits where $1::text is null or name = $1 order by name, source`,
    [name ?? null],
  );
}

/**
 * The limit of this name.
 * @throws {InvalidInputError} that says which name was perhaps meant.
 */
export async function findLimit(lockkeeper: Lockkeeper, name: string): Promise<LimitRow> {
  const [found] = await readLimits(lockkeeper, name);
  if (found) return found;
  const near = nearest(
    name,
    (await readLimits(lockkeeper)).map((limit) => limit.name),
  );
  const meant = near === undefined ? '' : `Did you mean ${near}? `;
  throw new InvalidInputError(`There is no limit called ${JSON.stringify(name)}.`, {
    hint: `${meant}\`lockkeeper limits list\` shows the limits; what has none, \`lockkeeper pause\` can pause.`,
  });
}

/** `true` stands for any value. */
export function shownMatch(match: Match): string {
  return Object.entries(match)
    .map(([name, value]) => (value === true ? name : `${name}=${value}`))
    .join(' ');
}

/** A capacity: of a limit, of a key or of an override; `attribute` is where a limit takes it from. */
export function shownCapacity(capacity: number | null, attribute: string | null = null): string {
  return capacity === 0 ? '0 (paused)' : String(capacity ?? attribute ?? 'unlimited');
}

/** The capacity that a limit has without its override; a pause has none. */
export function shownConfigured({ source, configured, capacity_attribute }: LimitRow): string | null {
  if (source === 'pause') return null;
  return configured === null ? shownCapacity(null, capacity_attribute) : String(configured);
}

/** Who set an override, until when, and why. */
export const reasonColumns: Column<LimitRow>[] = [
  { head: 'BY', of: (limit) => limit.override_by },
  { head: 'UNTIL', of: (limit) => limit.override_until },
  { head: 'WHY', of: (limit) => limit.override_why },
];

/** The same in a sentence: `, until … (ana: disk full)`. */
export function saidReason({
  override_by,
  override_why,
  override_until,
}: Pick<LimitRow, 'override_by' | 'override_why' | 'override_until'>): string {
  const until = override_until === null ? '' : line`, until ${override_until}`;
  return `${until} (${line`${override_by}: ${override_why}`})`;
}
