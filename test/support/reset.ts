/** A migrated database made as new again, for a tool that plays many files: cheaper than a new clone for each. */

import { readFile } from 'node:fs/promises';
import type { Database, Executor } from '../../src/database.ts';
import { sqlFolder } from '../../src/migrate.ts';
import { sourceFor } from '../../src/naming.ts';

/** Keeps what the tables of a new database hold. Answers what makes it new again, ids apart, which go on. */
export async function rememberNew({
  execute,
  schema,
}: Pick<Database, 'execute' | 'schema'>): Promise<(execute: Executor) => Promise<void>> {
  await execute(sourceFor(schema, await readFile(`${sqlFolder}/testing.sql`, 'utf8')), []);
  await execute('select lockkeeper_testing.remember()', []);
  return async (again) => {
    await again('select lockkeeper_testing.reset()', []);
  };
}
