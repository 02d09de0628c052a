/** What is said at the end, and whether all was well. */

import type pg from 'pg';
import pc from 'picocolors';
import { countRows } from './data.ts';
import type { KeySeen } from './observer.ts';
import { plainTable } from './view.ts';
import { address, schema, tableIn } from './work.ts';

/** A table of one deployment: rows that its file has, and rows that are there (null: no such table). */
export type Loaded = { table: string; expected: number; rows: number | null };

/** Counts the tables of every submitted file, and the files themselves once more. */
export async function countLoaded(
  pool: pg.Pool,
  submitted: readonly { file: string; deployment: string }[],
): Promise<Loaded[]> {
  const loaded: Loaded[] = [];
  for (const { file, deployment } of submitted) {
    for (const [name, expected] of countRows(file)) {
      const table = tableIn(deployment, name);
      const there = await pool.query('select to_regclass($1) is not null as there', [address(table)]);
      const counted = there.rows[0].there
        ? await pool.query(`select count(*)::int as rows from ${address(table)}`)
        : undefined;
      loaded.push({ table, expected, rows: counted?.rows[0].rows ?? null });
    }
  }
  return loaded;
}

const isWhole = ({ rows, expected }: Loaded) => rows === expected;

/** Two tables side by side, to be read on one screen. */
export function loadedText(loaded: readonly Loaded[]): string {
  const cells = loaded
    .toSorted((a, b) => (a.table < b.table ? -1 : 1))
    .map((one) => [
      one.table,
      isWhole(one) ? String(one.rows) : pc.red(`${one.rows ?? 'no table'} of ${one.expected}`),
    ]);
  const half = Math.ceil(cells.length / 2);
  const rows = cells.slice(0, half).map((cell, i) => [...cell, ...(cells[half + i] ?? ['', ''])]);
  const total = loaded.reduce((sum, { rows }) => sum + (rows ?? 0), 0);
  const whole = loaded.filter(isWhole).length;
  return [
    plainTable(['TABLE', 'ROWS', 'TABLE', 'ROWS'], rows, [40, 12, 40, 12]),
    `${total} rows in ${loaded.length} tables of schema ${schema}; ${whole} have as many rows as their files.`,
  ].join('\n');
}

const percent = (share: number) => `${(share * 100).toFixed(1)} %`;

/** What the keys of one limit inside runs have in common is one line: the fullest, and the largest shares. */
function mergedInsideRuns(seen: readonly KeySeen[]): (KeySeen & { keys: number })[] {
  const nameOf = ({ key }: KeySeen) =>
    key.startsWith('executor') ? key.replace(/\{.*$/, '{each run}') : key;
  return [...Map.groupBy(seen, nameOf)].map(([key, some]) => ({
    key,
    capacity: Math.max(...some.map(({ capacity }) => capacity)),
    most: Math.max(...some.map(({ most }) => most)),
    waited: Math.max(...some.map(({ waited }) => waited)),
    idle: Math.max(...some.map(({ idle }) => idle)),
    keys: some.length,
  }));
}

const isOver = ({ most, capacity }: KeySeen) => most > capacity;

export function limitsText(seen: readonly KeySeen[]): string {
  const rows = mergedInsideRuns(seen)
    .toSorted((a, b) => (a.key < b.key ? -1 : 1))
    .map((one) => [
      one.keys > 1 ? `${one.key} ×${one.keys}` : one.key,
      String(one.capacity),
      isOver(one) ? pc.red(`${one.most} EXCEEDED`) : String(one.most),
      percent(one.waited),
      percent(one.idle),
    ]);
  return plainTable(
    ['LIMIT', 'CAPACITY', 'MOST IN USE', 'WAITED', 'WAITED WHILE NOT FULL'],
    rows,
    [42, 10, 14, 10, 24],
  );
}

/** What was wrong, a line each; empty: all was well. */
export function problemsOf(loaded: readonly Loaded[], seen: readonly KeySeen[]): string[] {
  return [
    ...loaded
      .filter((one) => !isWhole(one))
      .map(({ table, rows, expected }) => `${table} has ${rows ?? 'no'} rows, its file has ${expected}`),
    ...seen
      .filter(isOver)
      .map(({ key, most, capacity }) => `${key} was exceeded: ${most} in use at once of ${capacity}`),
  ];
}
