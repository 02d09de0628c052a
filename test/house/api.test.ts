/** The SQL API: schema lockkeeper holds what people may use, and says what it promises; the state is private. */

import { expect, test } from 'vitest';
import { testDatabase } from '../support/database.ts';

const database = await testDatabase();
const names = async (text: string) => (await database.execute(text, [])).rows.map(({ name }) => name);

const functions = `pg_proc p join pg_namespace n on n.oid = p.pronamespace where n.nspname`;
const relations = `pg_class c join pg_namespace n on n.oid = c.relnamespace where n.nspname`;

test('every public function and view has a comment', async () => {
  const count = await names(`select p.proname as name from ${functions} = 'lockkeeper'`);
  expect(count.length).toBeGreaterThan(15);
  expect(
    await names(
      `select p.oid::regprocedure::text as name from ${functions} = 'lockkeeper'
       and obj_description(p.oid, 'pg_proc') is null`,
    ),
  ).toEqual([]);
  expect(
    await names(
      `select c.relname as name from ${relations} = 'lockkeeper' and obj_description(c.oid, 'pg_class') is null`,
    ),
  ).toEqual([]);
});

test('no function is overloaded', async () => {
  expect(
    await names(
      `select p.proname as name from ${functions} in ('lockkeeper', 'lockkeeper_data')
       group by n.nspname, p.proname having count(*) > 1`,
    ),
  ).toEqual([]);
});

test('a public function does not depend on the search_path of its caller', async () => {
  expect(
    await names(
      `select p.oid::regprocedure::text as name from ${functions} = 'lockkeeper'
       and not coalesce(p.proconfig::text like '%search_path=%', false)`,
    ),
  ).toEqual([]);
});

test('the public schema has functions and views, and no table', async () => {
  expect(
    await names(`select c.relname as name from ${relations} = 'lockkeeper' and c.relkind <> 'v'`),
  ).toEqual([]);
});

test('the views of the design are there', async () => {
  const views = await names(`select c.relname as name from ${relations} = 'lockkeeper'`);
  expect(views).toEqual(
    expect.arrayContaining(['runs', 'steps', 'limits', 'slots', 'waiting', 'workers', 'violations']),
  );
});
