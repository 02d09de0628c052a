import { beforeAll, describe, expect, test } from 'vitest';
import { cliOn } from './support/cli.ts';
import { emptyDatabase } from './support/database.ts';

const database = await emptyDatabase();
const cli = cliOn(database.connectionString);
const by = (text: string) => database.execute(text, []);
const schemas = async () =>
  (
    await by(`select nspname as name from pg_namespace where nspname ~ '^(lockkeeper|pgboss)' order by 1`)
  ).rows.map(({ name }) => name);
const both = ['lockkeeper', 'lockkeeper_data', 'pgboss'];
beforeAll(async () => {
  await cli(['migrate']);
});

describe('uninstall', () => {
  test('without --yes only says what would go, and is not done', async () => {
    const said = await cli(['uninstall']);
    expect(said).toMatchObject({ code: 1, err: expect.stringContaining('add --yes') });
    expect(said.out).toBe(
      'Would remove the schemas lockkeeper, lockkeeper_data, with all runs and all history.\n' +
        'Would remove the pg-boss queues lockkeeper.rejected, lockkeeper.runs, lockkeeper.submit.\npg-boss stays.',
    );
    expect((await cli(['uninstall', '--json'])).json).toMatchObject({ removed: false, live_workers: [] });
    expect(await schemas()).toEqual(both);
  });

  test('refuses while workers live', async () => {
    await by(`select lockkeeper.open_lease('w1', 1, '[]', 60000)`);
    expect(await cli(['uninstall', '--yes'])).toMatchObject({
      code: 1,
      err: expect.stringContaining('1 worker lives: w1.'),
    });
    expect((await cli(['uninstall'])).out).toContain('These workers live: w1.');
    expect(await schemas()).toEqual(both);
  });

  test('refuses what would take something of the user along, and names it', async () => {
    await by('create schema mine');
    await by('create view mine.my_runs as select run_id from lockkeeper.runs');
    await by('create table mine.notes (step int, job text references lockkeeper_data.jobs)');
    const { code, err } = await cli(['uninstall', '--yes', '--force']);
    expect(code).toBe(1);
    expect(err).toContain('In use elsewhere: table mine.notes, view mine.my_runs.');
    await by('drop schema mine cascade');
    expect(await schemas()).toEqual(both);
  });

  test('leaves queues of others, and a pg-boss that has some', async () => {
    await by(`select pgboss.create_queue('theirs', '{"policy":"standard"}'::jsonb)`);
    expect((await cli(['uninstall', '--yes', '--force', '--pg-boss'])).err).toContain(
      'queues of others: theirs.',
    );
    expect(await schemas()).toEqual(both);
    const { code, json } = await cli(['uninstall', '--yes', '--force', '--json']);
    expect({ code, json }).toEqual({
      code: 0,
      json: {
        removed: true,
        schemas: ['lockkeeper', 'lockkeeper_data'],
        queues: ['lockkeeper.rejected', 'lockkeeper.runs', 'lockkeeper.submit'],
        other_queues: ['theirs'],
        pg_boss: 'kept',
        live_workers: ['w1'],
      },
    });
    expect(await schemas()).toEqual(['pgboss']);
    const { rows } = await by(`select name from pgboss.queue where name not like '\\_\\_%'`);
    expect(rows).toEqual([{ name: 'theirs' }]);
    const tables = await by(
      `select count(*)::int as many from pg_tables where schemaname = 'pgboss' and tablename ~ '^j'`,
    );
    expect(tables.rows[0]?.many).toBeLessThan(5);
  });

  test('with nothing there says so; what was removed can be migrated again, and all of it removed', async () => {
    expect(await cli(['uninstall', '--yes'])).toMatchObject({
      code: 0,
      out: 'There is no Lockkeeper in this database: nothing to remove.',
    });
    expect((await cli(['migrate'])).code).toBe(0);
    await by("select pgboss.delete_queue('theirs')");
    expect(await cli(['uninstall', '--yes', '--pg-boss'])).toMatchObject({
      code: 0,
      out: expect.stringContaining('Removed pg-boss.'),
    });
    expect(await schemas()).toEqual([]);
  });

  test('removes only the Lockkeeper of the schema that is set', async () => {
    const second = cliOn(database.connectionString, { LOCKKEEPER_SCHEMA: 'second' });
    await cli(['migrate']);
    await second(['migrate']);
    const { json } = await second(['uninstall', '--yes', '--json']);
    expect(json).toMatchObject({ schemas: ['second', 'second_data'], pg_boss: 'kept' });
    expect(json.other_queues).toEqual(['lockkeeper.rejected', 'lockkeeper.runs', 'lockkeeper.submit']);
    expect(await schemas()).toEqual(both);
  });
});
