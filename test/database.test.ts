import pg from 'pg';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import {
  asWritten,
  type Executor,
  executor,
  listen,
  openDatabase,
  pgBossDb,
  transaction,
} from '../src/database.ts';
import { ConflictError, InvalidInputError } from '../src/errors.ts';
import { emptyDatabase } from './support/database.ts';

const database = await emptyDatabase();
await database.execute('create table numbers (n int)', []);
await database.execute(
  `create function misuse() returns void language plpgsql as
   $$ begin raise exception 'kept' using errcode = 'LK007', hint = 'cure'; end $$`,
  [],
);
const count = async () => (await database.execute('select count(*) from numbers', [])).rows[0]?.count;
const insert = 'insert into numbers values ($1)';

describe('a connection', () => {
  test('is READ COMMITTED even where the database has another default', async () => {
    const { rows } = await database.execute('select current_database() as name', []);
    const name = pg.escapeIdentifier(String(rows[0]?.name));
    await database.execute(`alter database ${name} set default_transaction_isolation = 'serializable'`, []);
    const other = openDatabase({ connectionString: database.connectionString });
    const level = await other.execute("select current_setting('transaction_isolation') as level", []);
    await other.close();
    await database.execute(`alter database ${name} reset default_transaction_isolation`, []);
    expect(level.rows).toEqual([{ level: 'read committed' }]);
  });

  test('gives bigint as a string', async () => {
    const { rows } = await database.execute('select 9007199254740993::bigint as n', []);
    expect(rows).toEqual([{ n: '9007199254740993' }]);
  });

  test('that is lost while idle is told, and replaced', async () => {
    const errors: Error[] = [];
    const other = openDatabase({
      connectionString: database.connectionString,
      max: 1,
      onError: (error) => errors.push(error),
    });
    const { rows } = await other.execute('select pg_backend_pid() as pid', []);
    const told = new Promise((resolve) => other.pool.once('error', resolve));
    await database.execute('select pg_terminate_backend($1)', [rows[0]?.pid]);
    await told;
    const again = await other.execute('select 1 as one', []);
    await other.close();
    expect(errors).toHaveLength(1);
    expect(again.rows).toEqual([{ one: 1 }]);
  });

  test('string that is none is refused without showing it', () => {
    for (const connectionString of ['', 'secret', 'mysql://a:secret@b/c', 'postgres://a:secret@b:port/c']) {
      const open = () => openDatabase({ connectionString });
      expect(open).toThrow(InvalidInputError);
      expect(open).not.toThrow(/secret/);
    }
  });
});

describe("the caller's own transaction", () => {
  test('of pg', async () => {
    const client = await database.pool.connect();
    await client.query('begin');
    await executor(client)(insert, [1]);
    await client.query('rollback');
    client.release();
    expect(await count()).toBe('0');
  });

  test('of Kysely', async () => {
    const failed = database.db.transaction().execute(async (within) => {
      await executor(within)(insert, [1]);
      throw new Error('changed my mind');
    });
    await expect(failed).rejects.toThrow('changed my mind');
    expect(await count()).toBe('0');
  });

  test('of pg-boss, which takes and gives executeSql', async () => {
    const { rows } = await executor(pgBossDb(database.execute))('select $1::int as n', [7]);
    expect(rows).toEqual([{ n: 7 }]);
  });

  test('gets errors as their classes', async () => {
    const call = executor(database.db)('select misuse()', []);
    await expect(call).rejects.toThrow(ConflictError);
    await expect(call).rejects.toMatchObject({ message: 'kept', hint: 'cure' });
  });
});

describe('transaction', () => {
  test('commits what it did, and rolls back when it throws', async () => {
    await transaction(database, (query) => query(insert, [1]));
    const failed = transaction(database, async (query) => {
      await query(insert, [2]);
      await query('select misuse()');
    });
    await expect(failed).rejects.toThrow(ConflictError);
    expect(await count()).toBe('1');
  });
});

describe('in another schema', () => {
  const other = openDatabase({ connectionString: database.connectionString, schema: 'other' });
  beforeAll(() =>
    other.pool.query(`create schema other; create schema lockkeeper;
      create view other.here as select 'other' as name; create view lockkeeper.here as select 'lockkeeper' as name`),
  );
  afterAll(() => other.close());
  const here = 'select name from lockkeeper.here';
  const nameFrom = async (execute: Executor) => (await execute(here, [])).rows[0]?.name;

  test('statements of ours reach it, however executors are wrapped', async () => {
    expect(other.schema).toBe('other');
    expect(await nameFrom(other.execute)).toBe('other');
    expect(await nameFrom(executor(other.execute))).toBe('other');
    expect(await nameFrom(executor(other.execute, 'other'))).toBe('other');
    expect(await transaction(other, (query) => nameFrom(executor(query)))).toBe('other');
    expect(await transaction(other, (query) => nameFrom(query))).toBe('other');
  });

  test("pg-boss's statements are sent as they are", async () => {
    const nameOf = (execute: Executor) =>
      nameFrom((text, values) => pgBossDb(execute).executeSql(text, values));
    expect(await nameOf(other.execute)).toBe('lockkeeper');
    expect(await nameOf(executor(other.execute, 'other'))).toBe('lockkeeper');
    expect(await transaction(other, (query) => nameOf(query))).toBe('lockkeeper');
    expect(await transaction(other, (query) => nameOf(executor(executor(query))))).toBe('lockkeeper');
    expect(await nameFrom(asWritten(other.execute))).toBe('lockkeeper');
  });

  test('errors have their classes, and several statements in one text are sent', async () => {
    await expect(other.execute('select misuse()', [])).rejects.toThrow(ConflictError);
    await expect(asWritten(executor(other.execute))('select misuse()', [])).rejects.toThrow(ConflictError);
    await transaction(other, (query) => query(`${here}; ${here}`));
  });

  test('Kysely reads it, and gives its connections back', async () => {
    for (let i = 0; i < 20; i += 1) {
      await other.db.connection().execute(async (connection) => {
        expect(await nameFrom(executor(connection))).toBe('other');
      });
    }
    expect(other.pool.idleCount).toBe(other.pool.totalCount);
  });

  test('costs nothing where it is the usual one', () => {
    expect(asWritten(database.execute)).toBe(database.execute);
  });
});

describe('listen', () => {
  test('hears, and hears again after its connection was lost', async () => {
    const heard: string[] = [];
    const waits: number[] = [];
    let next = Promise.withResolvers<void>();
    const listener = listen({
      connectionString: database.connectionString,
      channel: 'Some "channel"',
      onNotify: (payload) => {
        heard.push(payload);
        next.resolve();
      },
      wait: async (attempt) => {
        waits.push(attempt);
      },
      onError: () => {},
    });
    const hear = async (text: string, values: unknown[]) => {
      next = Promise.withResolvers();
      await database.execute(text, values);
      await next.promise;
    };
    await next.promise;
    await hear('select pg_notify($1, $2)', ['Some "channel"', 'first']);
    await hear(
      "select pg_terminate_backend(pid) from pg_stat_activity where application_name = 'lockkeeper listen' and datname = current_database()",
      [],
    );
    await hear('select pg_notify($1, $2)', ['Some "channel"', 'second']);
    await listener.close();
    expect(heard).toEqual(['', 'first', '', 'second']);
    expect(waits).toEqual([1]);
  });

  test('closes while it cannot connect', async () => {
    const failed = Promise.withResolvers<Error>();
    const listener = listen({
      connectionString: 'postgres://127.0.0.1:1/none',
      channel: 'any',
      onNotify: () => {},
      wait: () => new Promise(() => {}),
      onError: failed.resolve,
    });
    expect((await failed.promise).message).toContain('ECONNREFUSED');
    await listener.close();
  });
});
