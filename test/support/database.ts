/** The database of one test file. */

import { afterAll, afterEach, expect, inject } from 'vitest';
import { type Database, openDatabase } from '../../src/database.ts';
import { cloneTemplate } from './template.ts';

/**
 * `const database = await testDatabase();` at the head of a test file: a migrated database of its own, dropped after
 * the file's last test. After every test `lockkeeper.violations` must be empty.
 */
export async function testDatabase<Schema = unknown>(
  options: { max?: number } = {},
): Promise<Database<Schema>> {
  const database = await open<Schema>(options.max, false);
  afterEach(async () => {
    const { rows } = await database.execute('select * from lockkeeper.violations', []);
    expect(rows, 'lockkeeper.violations').toEqual([]);
  });
  return database;
}

/** The same without anything in it: for the tests of migrate and of what needs no schema. */
export function emptyDatabase(options: { max?: number } = {}): Promise<Database> {
  return open(options.max, true);
}

async function open<Schema>(max = 20, empty: boolean): Promise<Database<Schema>> {
  const clone = await cloneTemplate(inject('template'), empty);
  const database = openDatabase<Schema>({
    connectionString: clone.url,
    max,
    applicationName: 'lockkeeper test',
  });
  afterAll(async () => {
    await database.close();
    await clone.drop();
  });
  return database;
}
