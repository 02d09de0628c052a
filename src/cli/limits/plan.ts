/** `limits plan` and `limits apply`: what a file changes, and what stays whatever it says. */

import type { Command } from 'commander';
import { readConfig } from '../../config.ts';
import type { PlannedChange } from '../../limits/apply.ts';
import type { Lockkeeper } from '../../lockkeeper.ts';
import { readText } from '../arguments.ts';
import { answer, type Settings, settingsOf, withLockkeeper } from '../connect.ts';
import { Unsuccessful } from '../failure.ts';
import { explain } from '../help.ts';
import type { Io } from '../io.ts';
import { type Column, table } from '../table.ts';
import { line } from '../text.ts';
import { paintChange, saidFields, signed } from './changes.ts';
import { type LimitRow, readLimits, reasonColumns, shownCapacity, shownConfigured } from './rows.ts';

/** An override in force; `planned`: what the plan does to its limit. */
type Overridden = LimitRow & { planned: 'changed' | 'removed' | null };

type Plan = {
  drift: boolean;
  lanes_again: boolean;
  changes: PlannedChange[];
  overrides: Overridden[];
  /** Limits that are not from the file. */
  others: LimitRow[];
};

const shownOthers = 50;
const file = 'such as lockkeeper.yaml; - is standard input';
const json = `{ "drift": true, "lanes_again": false,
  "changes": [{ "name": "pool.warehouse", "change": "changed",
                "was": { "counts": "step", "match": { "pool": "warehouse" }, "per": [], "capacity": 3, "replaces": ["pool.*"], "part_of": [], "look_buffer": 0 },
                "becomes": { … "capacity": 5 … }, "lanes_again": false }],
  "overrides": [{ … as in limits list …, "planned": "changed" }],
  "others": [{ … as in limits list … }] }
change: added (was is null), removed (becomes is null) or changed. Of a setting such as retention_days, was and becomes are its value.
lanes_again: whether what waits is laned again. planned: changed, removed (the override ends with its limit) or null.
others: limits that are not from the file, pauses among them.`;

export function addPlan(limits: Command, io: Io): void {
  const command = limits
    .command('plan')
    .description('what apply would change; changes nothing')
    .argument('<file>', file)
    .option('--check', 'exit code 2 if anything would change')
    .action(async (file: string, { check = false }: { check?: boolean }, command: Command) => {
      await planFile(io, command, file, check);
    });
  explain(command, {
    more: `Limits and settings that differ from the file; overrides in force, which stay and are no drift; and limits that are not from
a file: of jobs, of your own, pauses. What waits is laned again, in the background, when a limit is added, removed, or gets another
match or grouping, or from limited to unlimited or back; not for another capacity.`,
    examples: ['limits plan lockkeeper.yaml', 'limits plan lockkeeper.yaml --check --json'],
    json,
    exit: '0, also with drift; with --check 2 if there is drift; 1 failed',
  });
}

export function addApply(limits: Command, io: Io): void {
  const command = limits
    .command('apply')
    .description('replace the whole configuration by that of a file')
    .argument('<file>', file)
    .option('--check', 'change nothing; exit code 2 if anything would change')
    .action(async (file: string, { check = false }: { check?: boolean }, command: Command) => {
      if (check) await planFile(io, command, file, check);
      else await applyFile(io, command, file);
    });
  explain(command, {
    more: `In one transaction. What is live counts at once; nothing is taken away from it. When anything in the file is wrong, nothing
changes. Overrides and pauses stay, limits of your own too. With --check it is \`limits plan --check\`.`,
    examples: ['limits apply lockkeeper.yaml', 'limits apply lockkeeper.yaml --check'],
    json: `as limits plan, without drift: what was changed`,
    exit: '0 applied, or with --check no drift; with --check 2 if there is drift; 1 failed',
  });
}

async function planFile(io: Io, command: Command, file: string, check: boolean): Promise<void> {
  const settings = settingsOf(command, io);
  const plan = await planned(io, settings, file, async (_lockkeeper, _config, changes) => changes);
  const source = file === '-' ? 'standard input' : file;
  answer(io, settings, plan, () => saidPlan(io, plan, line`No drift: the database is as ${source} says.`));
  if (check && plan.drift) throw new Unsuccessful('', 2);
}

async function applyFile(io: Io, command: Command, file: string): Promise<void> {
  const settings = settingsOf(command, io);
  const { drift: _drift, ...done } = await planned(io, settings, file, applied);
  answer(io, settings, done, () => saidPlan(io, done, 'Applied; no limit changed.'));
}

/** What apply itself says it did; how the fields were before, the plan knows. */
async function applied(
  lockkeeper: Lockkeeper,
  config: unknown,
  plan: PlannedChange[],
): Promise<PlannedChange[]> {
  const changes = await lockkeeper.limits.apply(config);
  return changes.map((change) => {
    const known = plan.find(({ name }) => name === change.name);
    return known?.change === change.change
      ? known
      : { ...change, was: null, becomes: null, lanes_again: true };
  });
}

type Act = (lockkeeper: Lockkeeper, config: unknown, changes: PlannedChange[]) => Promise<PlannedChange[]>;

async function planned(io: Io, settings: Settings, file: string, act: Act): Promise<Plan> {
  const config = readConfig(await readText(io, file));
  return withLockkeeper(io, settings, async (lockkeeper) => {
    const limits = await readLimits(lockkeeper);
    const changes = await act(lockkeeper, config, await lockkeeper.limits.plan(config));
    return planOf(changes, limits);
  });
}

function planOf(changes: PlannedChange[], limits: readonly LimitRow[]): Plan {
  const fate = new Map(changes.map(({ name, change }) => [name, change === 'removed' ? change : 'changed']));
  const overrides = limits
    .filter(({ override, source }) => override !== null && source !== 'pause')
    .map((limit) => ({ ...limit, planned: (fate.get(limit.name) ?? null) as Overridden['planned'] }));
  return {
    drift: changes.length > 0,
    lanes_again: changes.some(({ lanes_again }) => lanes_again),
    changes,
    overrides,
    others: limits.filter(({ source }) => source !== 'configuration' && source !== 'built-in'),
  };
}

function saidPlan(
  io: Io,
  { changes, lanes_again, overrides, others }: Omit<Plan, 'drift'>,
  none: string,
): string {
  const columns: Column<PlannedChange>[] = [
    { head: 'CHANGE', of: signed, paint: paintChange },
    { head: 'LIMIT', of: ({ name }) => name },
    { head: 'WHAT', of: saidFields },
  ];
  const laned = lanes_again ? 'What waits is laned again.' : 'Nothing that waits is laned again.';
  const parts = changes.length === 0 ? [none] : [table(io, columns, changes), '', laned];
  if (overrides.length > 0) parts.push('', 'Overrides in force:', table(io, overrideColumns, overrides));
  if (others.length > 0) parts.push('', 'Not from the file, and left alone:', othersTable(io, others));
  return parts.join('\n');
}

const fates = { changed: 'changed; the override stays', removed: 'removed, with the override' };

const overrideColumns: Column<Overridden>[] = [
  { head: 'LIMIT', of: ({ name }) => name },
  { head: 'CAPACITY', of: ({ override }) => shownCapacity(override), right: true },
  { head: 'INSTEAD OF', of: shownConfigured, right: true },
  ...reasonColumns,
  {
    head: 'LIMIT IS',
    of: ({ planned }) => (planned === null ? 'as it was' : fates[planned]),
    paint: (text, { yellow, red, dim }, { planned }) =>
      ({ changed: yellow, removed: red, none: dim })[planned ?? 'none'](text),
  },
];

function othersTable(io: Io, others: readonly LimitRow[]): string {
  const columns: Column<LimitRow>[] = [
    { head: 'LIMIT', of: ({ name }) => name },
    { head: 'SOURCE', of: ({ source }) => source },
    {
      head: 'CAPACITY',
      of: ({ capacity, capacity_attribute }) => shownCapacity(capacity, capacity_attribute),
      right: true,
    },
    ...(others.some(({ source }) => source === 'pause') ? reasonColumns : []),
  ];
  const left = others.length - shownOthers;
  const more = left > 0 ? `\n… and ${left} more: --json has them all.` : '';
  return `${table(io, columns, others.slice(0, shownOthers))}${more}`;
}
