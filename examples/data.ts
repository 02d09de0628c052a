/** The data files of the npm package `vega-datasets`, and how each becomes tables. */

import { readdirSync, readFileSync } from 'node:fs';
import { basename, extname, join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { parse } from 'csv-parse/sync';

/** Where the files are. */
export const folder = join(fileURLToPath(import.meta.resolve('vega-datasets')), '../../data');

/** One job for each. */
export type Family = 'flights' | 'tables' | 'records' | 'series' | 'maps' | 'graphs' | 'grids';

export type DataFile = { name: string; family: Family };

type Row = Record<string, unknown>;

/** Rows that go into one table. */
export type Table = { name: string; rows: Row[] };

const special: Record<string, Family> = {
  ...named('maps', 'earthquakes us-10m world-110m londonBoroughs londonTubeLines'),
  ...named('graphs', 'flare flare-dependencies miserables'),
  ...named('grids', 'annual-precip volcano'),
  ...named('series', 'co2-concentration github global-temp iowa-electricity seattle-weather-hourly-normals'),
  ...named(
    'series',
    'seattle-weather sp500-2000 sp500 stocks us-employment weather ohlc crimea budgets wheat',
  ),
  ...named('series', 'unemployment-across-industries weekly-weather'),
};

function named(family: Family, files: string): Record<string, Family> {
  return Object.fromEntries(files.split(' ').map((file) => [file, family]));
}

/** Every CSV, TSV and JSON file of the package. */
export function dataFiles(): DataFile[] {
  return readdirSync(folder)
    .filter((name) => /\.(csv|tsv|json)$/.test(name))
    .toSorted()
    .map((name) => ({ name, family: familyOf(name) }));
}

function familyOf(name: string): Family {
  const own = special[basename(name, extname(name))];
  if (own) return own;
  if (/^flights-\d/.test(name)) return 'flights';
  return name.endsWith('.json') ? 'records' : 'tables';
}

/** The name of a file's table in Postgres. */
export const tableName = (file: string) =>
  basename(file, extname(file))
    .replaceAll(/[^A-Za-z0-9]+/g, '_')
    .toLowerCase();

/** The tables in a file: one, or for maps and graphs the nodes or shapes and what connects them. */
export function readTables(file: string): Table[] {
  const name = tableName(file);
  const text = readFileSync(join(folder, file), 'utf8');
  if (!file.endsWith('.json')) return [{ name, rows: parseTable(text, file.endsWith('.tsv') ? '\t' : ',') }];
  const value = JSON.parse(text);
  if (Array.isArray(value)) return [{ name, rows: value }];
  if (value.type === 'Topology') return topology(name, value);
  if (value.type === 'FeatureCollection')
    return [{ name: `${name}_shapes`, rows: value.features.map(feature) }];
  if (value.nodes)
    return [
      { name: `${name}_nodes`, rows: value.nodes },
      { name: `${name}_links`, rows: value.links },
    ];
  return [{ name, rows: grid(value) }];
}

function parseTable(text: string, delimiter: string): Row[] {
  const rows: Record<string, string>[] = parse(text, { columns: true, bom: true, delimiter });
  return rows.map((row) =>
    Object.fromEntries(Object.entries(row).map(([column, value]) => [column, number(value)])),
  );
}

/** A number as it would be written again; 00501 is a zip code and stays text. */
function number(text: string): string | number | null {
  if (text === '') return null;
  return /^-?(0|[1-9]\d{0,14})?(\.\d+)?$/.test(text) && text !== '-' ? Number(text) : text;
}

const feature = ({ id, properties, geometry }: Row): Row => ({
  id,
  ...(properties as Row),
  geometry,
});

type Topology = { arcs: unknown[]; objects: Record<string, { geometries?: Row[] }> };

function topology(name: string, { arcs, objects }: Topology): Table[] {
  const shapes = Object.entries(objects).flatMap(([layer, object]) =>
    (object.geometries ?? [object as Row]).map(({ properties, ...shape }) => ({
      layer,
      ...shape,
      properties,
    })),
  );
  return [
    { name: `${name}_shapes`, rows: shapes },
    { name: `${name}_arcs`, rows: arcs.map((points, arc) => ({ arc, points })) },
  ];
}

function grid({ width, values }: { width: number; values: number[] }): Row[] {
  return values.map((value, i) => ({ x: i % width, y: Math.floor(i / width), value }));
}

export type Column = { name: string; type: 'double precision' | 'boolean' | 'jsonb' | 'text' };

/** The columns that hold all values of all rows. */
export function columnsOf(rows: readonly Row[]): Column[] {
  const kinds = new Map<string, Set<string>>();
  for (const row of rows) {
    for (const [name, value] of Object.entries(row)) {
      const seen = kinds.get(name) ?? new Set();
      kinds.set(name, seen);
      if (value !== null && value !== undefined) seen.add(typeof value);
    }
  }
  return [...kinds].map(([name, seen]) => ({ name, type: typeOf(seen) }));
}

function typeOf(kinds: ReadonlySet<string>): Column['type'] {
  if (kinds.has('object')) return 'jsonb';
  if (kinds.size !== 1) return 'text';
  return kinds.has('number') ? 'double precision' : kinds.has('boolean') ? 'boolean' : 'text';
}

/**
 * How many rows each table must have, counted in the file without any of the above: records of a CSV by their line
 * ends outside of quotes, entries of a JSON file by its lists.
 */
export function countRows(file: string): Map<string, number> {
  const name = tableName(file);
  const text = readFileSync(join(folder, file), 'utf8');
  if (!file.endsWith('.json')) return new Map([[name, countLines(text) - 1]]);
  const value = JSON.parse(text);
  if (Array.isArray(value)) return new Map([[name, value.length]]);
  if (value.arcs) {
    let shapes = 0;
    for (const layer of Object.values<{ geometries?: unknown[] }>(value.objects))
      shapes += layer.geometries?.length ?? 1;
    return new Map([
      [`${name}_shapes`, shapes],
      [`${name}_arcs`, value.arcs.length],
    ]);
  }
  if (value.features) return new Map([[`${name}_shapes`, value.features.length]]);
  if (value.links)
    return new Map([
      [`${name}_nodes`, value.nodes.length],
      [`${name}_links`, value.links.length],
    ]);
  return new Map([[name, value.values.length]]);
}

/** Lines with something in them; a line end in quotes ends no line. */
function countLines(text: string): number {
  let lines = 0;
  let quoted = false;
  let empty = true;
  for (const char of text) {
    if (char === '"') quoted = !quoted;
    if (char === '\n' && !quoted) {
      if (!empty) lines += 1;
      empty = true;
    } else if (char !== '\r') empty = false;
  }
  return empty ? lines : lines + 1;
}
