/** A migrated database made as new again, for a tool that plays many files: cheaper than a new clone for each. */

import type { Executor } from '../../src/database.ts';

/** Those with foreign keys first, so that they can be emptied in this order. */
const tables = `select c.relname as name from pg_class c join pg_namespace n on n.oid = c.relnamespace
  where n.nspname = 'lockkeeper_data' and c.relkind = 'r'
  order by exists (select from pg_constraint f where f.conrelid = c.oid and f.contype = 'f') desc, c.relname`;

/** Keeps what the tables of a new database hold. Answers what makes it new again, ids apart, which go on. */
export async function rememberNew(execute: Executor): Promise<(execute: Executor) => Promise<void>> {
  const { rows } = await execute(tables, []);
  const names = rows.map(({ name }) => String(name));
  await execute('create schema new_again', []);
  for (const name of names)
    await execute(`create table new_again.${name} as table lockkeeper_data.${name}`, []);
  const text = [
    ...names.map((name) => `delete from lockkeeper_data.${name};`),
    ...names
      .toReversed()
      .map(
        (name) =>
          `insert into lockkeeper_data.${name} overriding system value select * from new_again.${name};`,
      ),
    'delete from pgboss.job;',
  ].join('\n');
  return async (again) => {
    await again(`do $reset$ begin ${text} end $reset$`, []);
  };
}
