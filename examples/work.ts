/** What the steps do: extract a file, load it into Postgres, summarise it with SQL. */

import { createWriteStream } from 'node:fs';
import { readFile } from 'node:fs/promises';
import { join } from 'node:path';
import { Readable } from 'node:stream';
import { pipeline } from 'node:stream/promises';
import pg from 'pg';
import type { HandlerContext } from '../src/index.ts';
import { type Column, columnsOf, readTables } from './data.ts';

/** The schema of the tables that the example loads. */
export const schema = 'lockkeeper_example';

const rowsPerInsert = 5_000;

export type Input = { file: string };
export type Extracted = { tables: { name: string; columns: Column[]; rows: number }[] };
export type AfterExtract = HandlerContext<Input, { extract: Extracted }>;

export type Place = {
  pool: pg.Pool;
  /** A folder for the files between extract and load. */
  staging: string;
};

const quoted = pg.escapeIdentifier;
export const address = (table: string) => `${quoted(schema)}.${quoted(table)}`;

/** Deployments load the same files into tables of their own. */
export const tableIn = (deployment: string, table: string) =>
  deployment === 'default' ? table : `${deployment.replaceAll('-', '_')}_${table}`;

const staged = ({ staging }: Place, run: string, table: string) => join(staging, `${run}-${table}.ndjson`);

/** Reads the file, writes its rows for the loads, and makes the empty tables. */
export async function extractFile(place: Place, { run, input }: HandlerContext<Input>): Promise<Extracted> {
  const tables: Extracted['tables'] = [];
  for (const { name: base, rows } of readTables(input.file)) {
    const name = tableIn(run.deployment, base);
    const columns = columnsOf(rows);
    const lines = rows.map((row) => `${JSON.stringify(row)}\n`);
    await pipeline(Readable.from(lines), createWriteStream(staged(place, run.id, name)));
    await createTable(place.pool, name, columns);
    tables.push({ name, columns, rows: rows.length });
  }
  return { tables };
}

/** `loaded_part` tells which load a row came from. */
async function createTable(pool: pg.Pool, name: string, columns: readonly Column[]): Promise<void> {
  const list = columns.map(({ name: column, type }) => `${quoted(column)} ${type}`);
  await pool.query(
    `drop table if exists ${address(name)}; create table ${address(name)} (${[...list, 'loaded_part int'].join(', ')})`,
  );
}

/** All of a file's tables, or one of them, or of the rows one part of so many. */
export type Which = { table?: number; part?: number; of?: number };

/** Loads what was extracted; the number of rows. */
export async function loadRows(place: Place, context: AfterExtract, which: Which): Promise<number> {
  const { run, outputs, signal } = context;
  const { table, part = 0, of = 1 } = which;
  const tables = outputs.extract.tables;
  let rows = 0;
  for (const { name, columns } of table === undefined ? tables : tables.slice(table, table + 1)) {
    const text = await readFile(staged(place, run.id, name), 'utf8');
    const lines = text.split('\n').filter((line) => line !== '');
    const mine = lines.slice((lines.length * part) / of, (lines.length * (part + 1)) / of);
    rows += await insertRows(place.pool, { name, columns, part, lines: mine, signal });
  }
  return rows;
}

type Part = { name: string; columns: readonly Column[]; part: number; lines: string[]; signal: AbortSignal };

/** A step may run twice (at least once is the promise), so it first removes what an earlier attempt left. */
async function insertRows(pool: pg.Pool, { name, columns, part, lines, signal }: Part): Promise<number> {
  const names = columns.map(({ name: column }) => quoted(column)).join(', ');
  const typed = columns.map(({ name: column, type }) => `${quoted(column)} ${type}`).join(', ');
  await pool.query(`delete from ${address(name)} where loaded_part = $1`, [part]);
  let loaded = 0;
  for (let i = 0; i < lines.length; i += rowsPerInsert) {
    signal.throwIfAborted();
    const { rowCount } = await pool.query(
      `insert into ${address(name)} (${names}, loaded_part)
       select ${names}, $2 from jsonb_to_recordset($1::jsonb) as r(${typed})`,
      [`[${lines.slice(i, i + rowsPerInsert).join(',')}]`, part],
    );
    loaded += rowCount ?? 0;
  }
  return loaded;
}

/** Rows and bytes of each table. */
export async function countTables({ pool }: Place, { outputs }: AfterExtract) {
  const counts: Record<string, { rows: number; bytes: number }> = {};
  for (const { name } of outputs.extract.tables) {
    const { rows } = await pool.query(
      `select count(*)::int as rows, pg_total_relation_size('${address(name)}')::int as bytes from ${address(name)}`,
    );
    counts[name] = rows[0];
  }
  return counts;
}

type ByColumn<T> = Record<string, Record<string, T>>;

/** How many different values each column has, and how often it has none. */
export function describeColumns(
  place: Place,
  context: AfterExtract,
): Promise<ByColumn<{ distinct: number; missing: number }>> {
  const asked = (column: string) =>
    `count(distinct ${column})::int as distinct, (count(*) - count(${column}))::int as missing`;
  return askEachColumn(place, context, { asked, of: () => true });
}

/** Least, most and mean of each column of numbers. */
export function measureRanges(
  place: Place,
  context: AfterExtract,
): Promise<ByColumn<{ least: number; most: number; mean: number }>> {
  const asked = (column: string) => `min(${column}) as least, max(${column}) as most, avg(${column}) as mean`;
  return askEachColumn(place, context, { asked, of: ({ type }) => type === 'double precision' });
}

async function askEachColumn<T>(
  { pool }: Place,
  { outputs }: AfterExtract,
  { asked, of }: { asked: (column: string) => string; of: (column: Column) => boolean },
): Promise<ByColumn<T>> {
  const found: ByColumn<T> = {};
  for (const { name, columns } of outputs.extract.tables) {
    const parts = columns
      .filter(of)
      .map(
        ({ name: column }) =>
          `select ${pg.escapeLiteral(column)} as column, ${asked(quoted(column))} from ${address(name)}`,
      );
    const { rows } = parts.length === 0 ? { rows: [] } : await pool.query(parts.join(' union all '));
    found[name] = Object.fromEntries(rows.map(({ column, ...rest }) => [column, rest]));
  }
  return found;
}
