/** What the disk and Postgres itself allow: no system that commits can be faster. */

import { closeSync, fdatasyncSync, openSync, readFileSync, writeSync } from 'node:fs';
import { join } from 'node:path';
import pg from 'pg';
import { line, repeated } from '../lib/lines.ts';
import { nowNs } from '../lib/marks.ts';
import { executing, expectNumber } from '../lib/sql.ts';
import type { Bench, Context, Figure, Part } from '../types.ts';

const item = 'x'.repeat(50);
const bulkRows = 1_000;
const seconds = { quick: 0.5, full: 2 };

const textOf = (name: string) => readFileSync(new URL(`../sql/${name}.sql`, import.meta.url), 'utf8');

type Case = {
  name: string;
  unit: string;
  /** The file of its statement, which is a transaction of its own; undefined: one that writes nothing. */
  statement?: string;
  values: unknown[];
  /** What one statement writes. */
  rows: number;
  clients: number;
};

const insert = { unit: 'commits/s', statement: 'insert', values: [item], rows: 1 };
const hotRow = { unit: 'commits/s', statement: 'hot-row', values: [1], rows: 1 };
const bulk = { unit: 'rows/s', statement: 'bulk', values: [Array(bulkRows).fill(item)], rows: bulkRows };
const empty = { unit: 'statements/s', values: [], rows: 1 };

const cases: readonly Case[] = [
  { ...empty, name: 'a statement that does nothing, 1 client', clients: 1 },
  { ...insert, name: 'insert of one row, 1 client', clients: 1 },
  { ...insert, name: 'insert of one row, 16 clients', clients: 16 },
  { ...hotRow, name: 'update of one hot row, 1 client', clients: 1 },
  { ...hotRow, name: 'update of one hot row, 16 clients', clients: 16 },
  { ...bulk, name: `insert of ${bulkRows.toLocaleString('en')} rows a statement, 1 client`, clients: 1 },
];

/** Rows (or statements) a second, in a database of their own. */
async function once({ server, quick }: Context, each: Case): Promise<number> {
  const { url, drop } = await server.database('floor');
  const clients = Array.from({ length: each.clients + 1 }, () => new pg.Client({ connectionString: url }));
  const [observer, ...workers] = clients as [pg.Client, ...pg.Client[]];
  try {
    await Promise.all(clients.map((client) => client.connect()));
    await observer.query(textOf('tables'));
    const query = queryOf(each);
    await Promise.all(workers.map((client) => client.query(query)));
    const from = nowNs();
    const until = from + (quick ? seconds.quick : seconds.full) * 1e9;
    const sent = await Promise.all(workers.map((client) => sendUntil(client, query, until)));
    const elapsed = (nowNs() - from) / 1e9;
    const statements = sent.reduce((sum, n) => sum + n, 0);
    await checkWritten(observer, each, statements + workers.length);
    return (statements * each.rows) / elapsed;
  } finally {
    await Promise.all(clients.map((client) => client.end()));
    await drop();
  }
}

/** As a named statement: each connection parses it once. */
function queryOf({ statement, values }: Case): pg.QueryConfig {
  const text = statement === undefined ? 'select' : textOf(statement);
  return { name: statement ?? 'empty', text, values };
}

/** How often it was executed until then. */
async function sendUntil(client: pg.Client, query: pg.QueryConfig, until: number): Promise<number> {
  let sent = 0;
  for (; nowNs() < until; sent += 1) await client.query(query);
  return sent;
}

/** Throws unless all that was sent is there. */
async function checkWritten(client: pg.Client, { name, statement, rows }: Case, sent: number): Promise<void> {
  if (statement === undefined) return;
  const written = 'select (select count(*) from items) + (select n from counter) as n';
  await expectNumber(executing(client), `rows written in ${name}`, written, sent * rows);
}

const pageBytes = 8_192;
const filePages = 2_048;

/** Pages a second that are written over and brought to the disk one by one, as the log of Postgres is by one client. */
function syncs({ folder, quick }: Context): number {
  const file = openSync(join(folder, 'syncs'), 'w');
  const page = Buffer.alloc(pageBytes, 1);
  try {
    for (let i = 0; i < filePages; i += 1) writeSync(file, page, 0, pageBytes, i * pageBytes);
    fdatasyncSync(file);
    const from = nowNs();
    const until = from + (quick ? seconds.quick : seconds.full) * 1e9;
    let synced = 0;
    for (; nowNs() < until; synced += 1) {
      writeSync(file, page, 0, pageBytes, (synced % filePages) * pageBytes);
      fdatasyncSync(file);
    }
    return synced / ((nowNs() - from) / 1e9);
  } finally {
    closeSync(file);
  }
}

async function run(context: Context): Promise<Figure> {
  const disk = { name: 'fdatasync of one page of 8 kB', unit: 'syncs/s', measure: () => syncs(context) };
  const all = [disk, ...cases.map((each) => ({ ...each, measure: () => once(context, each) }))];
  const part = ({ name, unit, measure }: (typeof all)[number]): Part => ({
    name,
    measure: async () => {
      const values = await repeated(context, async () => measure());
      const result = line({ bench: 'floors', case: name, system: 'floor', unit, values });
      context.say(`${name}: ${Math.round(result.value)} ${unit}`);
      return { results: [result], verdicts: [] };
    },
  });
  return context.parts(all.map(part));
}

/** The figure `floors`. */
export const floors: Bench = {
  name: 'floors',
  title: 'What the disk and Postgres allow',
  about: `No system: one process of Node with so many connections sends one prepared statement after the other on each, every
one a transaction of its own, for ${seconds.full} s (\`--quick\`: ${seconds.quick} s) in a new database: one that does nothing (the round trip), the
insert of a row of 50 characters, an update of always the same row, the insert of ${bulkRows} rows. The syncs are those of a file
beside the other files of the bench, written over page by page, which is what a commit waits for when it is alone; that is
the disk of the server only if the server is the embedded one. It throws when not every row is there that was sent.`,
  run,
};
