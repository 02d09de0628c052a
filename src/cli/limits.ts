import type { Command } from 'commander';
import { readConfig } from '../config.ts';
import type { LimitChange } from '../limits/apply.ts';
import type { Lockkeeper } from '../lockkeeper.ts';
import { readText } from './arguments.ts';
import { answer, select, settingsOf, withLockkeeper } from './connect.ts';
import { explain } from './help.ts';
import type { Io } from './io.ts';
import { table } from './table.ts';

type LimitRow = {
  name: string;
  counts: 'run' | 'step';
  match: Record<string, string | true>;
  per: string[];
  capacity: number | null;
  capacity_attribute: string | null;
  override: number | null;
  source: string;
  look_buffer: number | null;
};
type KeyRow = { key: string; limit: string; in_use: number; asked: number; capacity: number | null };
type Listed = { limits: LimitRow[]; keys: KeyRow[] };

const shownKeys = 50;

export function addLimits(program: Command, io: Io): void {
  const limits = program.command('limits').description('list the limits, apply a configuration');
  addList(limits, io);
  addApply(limits, io);
}

function addList(limits: Command, io: Io): void {
  const command = limits
    .command('list')
    .description('the limits, and their keys that are in use')
    .action(async (_options: object, command: Command) => {
      const settings = settingsOf(command, io);
      const listed = await withLockkeeper(io, settings, listLimits);
      answer(io, settings, listed, () => saidList(io, listed));
    });
  explain(command, {
    examples: ['limits list'],
    json: `{ "limits": [{ "name": "pool.warehouse", "counts": "step", "match": { "pool": "warehouse" }, "per": [], "capacity": 5,
              "capacity_attribute": null, "override": null, "source": "configuration", "look_buffer": 0 }],
  "keys": [{ "key": "pool.warehouse", "limit": "pool.warehouse", "in_use": 3, "asked": 0, "capacity": 5 }] }
capacity: null is unlimited, 0 is paused. keys: only those in use, or asked for by ready steps; the fullest first.`,
  });
}

async function listLimits(lockkeeper: Lockkeeper): Promise<Listed> {
  return {
    limits: await select<LimitRow>(
      lockkeeper,
      `select name, counts, match, per, capacity, capacity_attribute, override, source, look_buffer
       from lockkeeper.limits order by name, source`,
    ),
    keys: await select<KeyRow>(
      lockkeeper,
      `select key, "limit", in_use::float8, asked::float8, capacity::float8 from lockkeeper.keys
       where in_use > 0 or asked > 0
       order by in_use::float8 / nullif(capacity, 0) desc nulls last, in_use desc, key`,
    ),
  };
}

function saidList(io: Io, { limits, keys }: Listed): string {
  const shown = limits.filter(({ source }) => source !== 'built-in');
  if (shown.length + keys.length === 0)
    return 'No limit: everything starts at once. Apply a configuration to change that.';
  const parts = [
    table(
      io,
      [
        { head: 'LIMIT', of: (limit) => limit.name },
        { head: 'COUNTS', of: (limit) => `${limit.counts}s` },
        { head: 'MATCH', of: matchOf },
        { head: 'PER', of: (limit) => limit.per },
        { head: 'CAPACITY', of: (limit) => capacityOf(limit), right: true },
        { head: 'SOURCE', of: (limit) => limit.source },
      ],
      shown,
    ),
  ];
  if (keys.length > 0) {
    const columns = [
      { head: 'KEY', of: ({ key }: KeyRow) => key },
      { head: 'IN USE', of: (key: KeyRow) => `${key.in_use} of ${capacityOf(key)}`, right: true },
      { head: 'ASKED', of: ({ asked }: KeyRow) => asked || null, right: true },
    ];
    parts.push('', table(io, columns, keys.slice(0, shownKeys)));
  }
  if (keys.length > shownKeys) parts.push(`… and ${keys.length - shownKeys} keys more: --json has them all.`);
  return parts.join('\n');
}

/** `true` stands for any value. */
function matchOf({ match }: LimitRow): string {
  return Object.entries(match)
    .map(([name, value]) => (value === true ? name : `${name}=${value}`))
    .join(' ');
}

function capacityOf(of: { capacity: number | null; capacity_attribute?: string | null }): string {
  if (of.capacity === 0) return '0 (paused)';
  return String(of.capacity ?? of.capacity_attribute ?? 'unlimited');
}

function addApply(limits: Command, io: Io): void {
  const command = limits
    .command('apply')
    .description('replace the whole configuration by that of a file')
    .argument('<file>', 'such as lockkeeper.yaml; - is standard input')
    .action(async (file: string, _options: object, command: Command) => {
      const settings = settingsOf(command, io);
      const config = readConfig(await readText(io, file));
      const changes = await withLockkeeper(io, settings, (lockkeeper) => lockkeeper.applyConfig(config));
      answer(io, settings, { changes }, () => saidChanges(io, changes));
    });
  explain(command, {
    more: 'What is live counts at once; nothing is taken away from it. When anything in the file is wrong, nothing changes.',
    examples: ['limits apply lockkeeper.yaml'],
    json: '{ "changes": [{ "name": "pool.warehouse", "change": "added" }] }   change: added, removed or changed',
  });
}

/** What `apply` changed. */
export function saidChanges(io: Io, changes: readonly LimitChange[]): string {
  if (changes.length === 0) return 'Applied; no limit changed.';
  return table(
    io,
    [
      {
        head: 'CHANGE',
        of: ({ change }) => change,
        paint: (text, { green, red, yellow }) =>
          ({ added: green, removed: red, changed: yellow })[text as LimitChange['change']](text),
      },
      { head: 'LIMIT', of: ({ name }) => name },
    ],
    changes,
  );
}
