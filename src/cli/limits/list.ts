/** `limits list`: the limits, what they hold, and of one limit who holds it. */

import type { Command } from 'commander';
import type { Lockkeeper } from '../../lockkeeper.ts';
import { answer, select, settingsOf, withLockkeeper } from '../connect.ts';
import { explain } from '../help.ts';
import { coloursOf, type Io } from '../io.ts';
import { type Column, table } from '../table.ts';
import { line } from '../text.ts';
import {
  findLimit,
  type LimitRow,
  limitJson,
  readLimits,
  reasonColumns,
  saidReason,
  shownCapacity,
  shownConfigured,
  shownMatch,
} from './rows.ts';

type KeyRow = { key: string; limit: string; in_use: number; asked: number; capacity: number | null };
type HolderRow = {
  key: string;
  run_id: string;
  job: string;
  step: string | null;
  amount: number;
  since: Date;
  worker: string | null;
};
type Listed = { limits: LimitRow[]; keys: KeyRow[]; holders?: HolderRow[] };

const shownRows = 50;

export function addList(limits: Command, io: Io): void {
  const command = limits
    .command('list')
    .description('the limits, and their keys that are in use; of one limit, who holds it')
    .argument('[name]', 'only this limit')
    .action(async (name: string | undefined, _options: object, command: Command) => {
      const settings = settingsOf(command, io);
      const listed = await withLockkeeper(io, settings, (lockkeeper) => read(lockkeeper, name));
      answer(io, settings, listed, () => (name === undefined ? saidAll(io, listed) : saidOne(io, listed)));
    });
  explain(command, {
    examples: ['limits list', 'limits list pool.warehouse'],
    json: `{ "limits": [${limitJson.replaceAll('\n', '\n              ')}],
  "keys": [{ "key": "pool.warehouse", "limit": "pool.warehouse", "in_use": 3, "asked": 0, "capacity": 5 }] }
with a name also: "holders": [{ "key": "pool.warehouse", "run_id": "42", "job": "load", "step": "copy", "amount": 1, "since": "…", "worker": "host-7" }]
capacity: what counts, the override if there is one; null is unlimited, 0 is paused. configured: without the override.
source: configuration, built-in, user, pause, or "job NAME" for the executor block of a job.
keys: only those in use, or asked for by ready steps; the fullest first. holders: longest first; step is null when the run holds it.`,
  });
}

async function read(lockkeeper: Lockkeeper, name: string | undefined): Promise<Listed> {
  const limits = name === undefined ? await readLimits(lockkeeper) : [await findLimit(lockkeeper, name)];
  const keys = await select<KeyRow>(
    lockkeeper,
    `select key, "limit", in_use::float8, asked::float8, capacity::float8 from lockkeeper.keys
     where (in_use > 0 or asked > 0) and ($1::text is null or "limit" = $1)
     order by in_use::float8 / nullif(capacity, 0) desc nulls last, in_use desc, key`,
    [name ?? null],
  );
  if (name === undefined) return { limits, keys };
  const holders = await select<HolderRow>(
    lockkeeper,
    `select key, run_id::text, job, step, amount, since, worker from lockkeeper.slots
     where "limit" = $1 order by since, slots.run_id, place, key`,
    [name],
  );
  return { limits, keys, holders };
}

function saidAll(io: Io, { limits, keys }: Listed): string {
  const shown = limits.filter(({ source }) => source !== 'built-in');
  if (shown.length + keys.length === 0)
    return 'No limit: everything starts at once. Apply a configuration to change that.';
  const overridden = shown.some(({ override }) => override !== null);
  const columns: Column<LimitRow>[] = [
    { head: 'LIMIT', of: ({ name }) => name },
    { head: 'COUNTS', of: ({ counts }) => `${counts}s` },
    { head: 'MATCH', of: ({ match }) => shownMatch(match) },
    { head: 'PER', of: ({ per }) => per },
    { head: 'CAPACITY', of: ownCapacity, right: true },
    ...(overridden ? [overrideColumn] : []),
    { head: 'SOURCE', of: ({ source }) => source },
    ...(overridden ? reasonColumns : []),
  ];
  return [table(io, columns, shown), ...saidKeys(io, keys)].join('\n');
}

const overrideColumn: Column<LimitRow> = {
  head: 'OVERRIDE',
  of: ({ override }) => (override === null ? null : shownCapacity(override)),
  paint: (text, { red, yellow }, { override }) => (override === 0 ? red(text) : yellow(text)),
  right: true,
};

/** A limit whose own capacity is 0 is paused too. */
function ownCapacity(limit: LimitRow): string | null {
  return limit.configured === 0 ? shownCapacity(0) : shownConfigured(limit);
}

function saidOne(io: Io, { limits, keys, holders = [] }: Listed): string {
  const { dim } = coloursOf(io);
  const facts = limits.flatMap(factsOf);
  const width = Math.max(...facts.map(([name]) => name.length));
  const lines = facts.map(([name, value]) => `${dim(name.padEnd(width))}  ${value}`);
  if (keys.length === 0) return [...lines, '', 'No key of it is in use.'].join('\n');
  return [...lines, ...saidKeys(io, keys), ...saidHolders(io, holders)].join('\n');
}

function factsOf(limit: LimitRow): [string, string][] {
  const { name, counts, match, per, override, override_at, source, replaces, look_buffer } = limit;
  const set = line`${shownCapacity(override)}, since ${override_at}`;
  const all: [string, string, boolean][] = [
    ['limit', line`${name}`, true],
    ['counts', `${counts}s`, true],
    ['match', line`${shownMatch(match) || 'everything'}`, true],
    ['per', line`${per}`, per.length > 0],
    ['capacity', line`${ownCapacity(limit)}`, source !== 'pause'],
    ['override', `${set}${saidReason(limit)}`, override !== null],
    ['replaces', line`${replaces}`, replaces.length > 0],
    ['looked at', line`by admission, with a buffer of ${look_buffer}`, look_buffer !== null],
    ['source', line`${source}`, true],
  ];
  return all.flatMap(([fact, value, isTold]): [string, string][] => (isTold ? [[fact, value]] : []));
}

function saidKeys(io: Io, keys: readonly KeyRow[]): string[] {
  if (keys.length === 0) return [];
  const columns: Column<KeyRow>[] = [
    { head: 'KEY', of: ({ key }) => key },
    { head: 'IN USE', of: ({ in_use, capacity }) => `${in_use} of ${shownCapacity(capacity)}`, right: true },
    { head: 'ASKED', of: ({ asked }) => asked || null, right: true },
  ];
  return ['', table(io, columns, keys.slice(0, shownRows)), ...more(keys.length, 'keys')];
}

function saidHolders(io: Io, holders: readonly HolderRow[]): string[] {
  if (holders.length === 0) return [];
  const columns: Column<HolderRow>[] = [
    { head: 'RUN', of: ({ run_id }) => run_id, right: true },
    { head: 'JOB', of: ({ job }) => job },
    { head: 'STEP', of: ({ step }) => step },
    { head: 'KEY', of: ({ key }) => key },
    { head: 'SLOTS', of: ({ amount }) => amount, right: true },
    { head: 'SINCE', of: ({ since }) => since },
    { head: 'WORKER', of: ({ worker }) => worker },
  ];
  return ['', table(io, columns, holders.slice(0, shownRows)), ...more(holders.length, 'holders')];
}

function more(all: number, what: string): string[] {
  return all > shownRows ? [`… and ${all - shownRows} ${what} more: --json has them all.`] : [];
}
