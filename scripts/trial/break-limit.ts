/** Makes the SQL of this one database grant one slot too many, so that we know that the observer sees it. */

import type { Database } from '../../src/database.ts';

const right = '> v_capacity[k]';
const wrong = '> v_capacity[k] + 1';

export async function breakLimit(database: Database): Promise<void> {
  const { rows } = await database.execute(
    `select p.oid::regprocedure as name, pg_get_functiondef(p.oid) as definition
     from pg_proc p join pg_namespace n on n.oid = p.pronamespace
     where n.nspname = 'lockkeeper_data' and p.prokind = 'f' and strpos(p.prosrc, $1) > 0`,
    [right],
  );
  if (rows.length === 0)
    throw new Error(`No function of the schema lockkeeper_data compares with "${right}": nothing to break.`);
  for (const { name, definition } of rows) {
    await database.execute(String(definition).replaceAll(right, wrong), []);
    console.log(`${name} grants one too many from here on.`);
  }
}
