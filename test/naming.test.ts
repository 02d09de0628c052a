/** Names: which schemas a Lockkeeper may have, and what a text becomes for one that is not called `lockkeeper`. */

import { describe, expect, test } from 'vitest';
import { openDatabase } from '../src/database.ts';
import { InvalidInputError } from '../src/errors.ts';
import { checkSchema, lockNumber, sourceFor, statementsFor } from '../src/naming.ts';
import { sources } from './house/sources.ts';

const allows = (schema: string) => {
  try {
    return checkSchema(schema) === schema;
  } catch (error) {
    expect(error).toBeInstanceOf(InvalidInputError);
    return false;
  }
};

describe('a schema', () => {
  test.each(['lockkeeper', 'lockkeeper_2', '_', 'a', 'pgboss', 'order', 'x'.repeat(55)])('%s', (schema) => {
    expect(allows(schema)).toBe(true);
  });

  const refused = ['', 'Other', '1st', 'pg_own', 'my-schema', 'a.b', 'ä', 'x"; drop', 'x'.repeat(56)];
  test.each([...refused, 'public', 'information_schema', 'a_data', 'lockkeeper_data'])(
    '%j is refused',
    (schema) => {
      expect(allows(schema)).toBe(false);
    },
  );

  test('that is refused is named where it was given', () => {
    const open = () => openDatabase({ connectionString: 'postgres://127.0.0.1/none', schema: 'Other' });
    expect(open).toThrow(InvalidInputError);
    expect(open).toThrow('The schema "Other" cannot be Lockkeeper\'s.');
  });
});

test('lock numbers: those of lockkeeper for ever, and 8,192 to each other schema', () => {
  expect(lockNumber('lockkeeper', 0)).toBe('5505019530000000000');
  expect(lockNumber('lockkeeper', 4_099)).toBe('5505019530000004099');
  expect(lockNumber('other', 4_096)).toBe('5505019535121388544');
  const bases = Array.from({ length: 200 }, (_, i) => BigInt(lockNumber(`s${i}`, 0)) - 5505019530000000000n);
  expect(new Set(bases).size).toBe(200);
  expect(bases.filter((base) => base % 8_192n !== 0n || base < 8_192n || base > 8_192n * 2n ** 20n)).toEqual(
    [],
  );
});

describe('a statement', () => {
  const rename = statementsFor('x1') as (text: string) => string;

  test('of the schema lockkeeper is sent as it is', () => {
    expect(statementsFor('lockkeeper')).toBeUndefined();
  });

  test.each([
    ['select * from lockkeeper.runs r, lockkeeper_data.steps', 'select * from "x1".runs r, "x1_data".steps'],
    ['select LockKeeper.now(), lockkeeper . now()', 'select "x1".now(), "x1" . now()'],
    ['select lockkeeper.submit($1) as lockkeeper', 'select "x1".submit($1) as lockkeeper'],
    ['select from "lockkeeper"."runs", "lockkeeper_data".runs', 'select from "x1"."runs", "x1_data".runs'],
    ['drop schema if exists lockkeeper cascade', 'drop schema if exists "x1" cascade'],
    ['create schema if not exists lockkeeper_data;', 'create schema if not exists "x1_data";'],
    ['grant usage on schema lockkeeper to a', 'grant usage on schema "x1" to a'],
    ['do $a$ begin perform lockkeeper.f($$b$$); end $a$', 'do $a$ begin perform "x1".f($$b$$); end $a$'],
    ["select $1 -- it's\n, lockkeeper.now()", `select $1 -- it's\n, "x1".now()`],
    ["select 'it''s', lockkeeper.now()", `select 'it''s', "x1".now()`],
    [String.raw`select e'it\'s', lockkeeper.now()`, String.raw`select e'it\'s', "x1".now()`],
    [String.raw`select 'a\', lockkeeper.now()`, String.raw`select 'a\', "x1".now()`],
  ])('%s', (text, renamed) => {
    expect(rename(text)).toBe(renamed);
    expect(rename(renamed)).toBe(renamed);
  });

  test.each([
    "where name = 'lockkeeper.runs' and e'\\'lockkeeper.runs'",
    'select my_lockkeeper.f(), lockkeeper2.f(), a.lockkeeper.f, "a lockkeeper.f", $lockkeeper$a$lockkeeper$',
    'select lockkeeper from lockkeeper',
    'select 1 /* lockkeeper.runs */ -- lockkeeper.runs',
    "do $$ begin execute 'select lockkeeper.now()'; end $$",
    'insert into pgboss.job (name, data) select name, data from json_to_recordset($1)',
  ])('stays: %s', (text) => {
    expect(rename(text)).toBe(text);
  });

  test('of more kinds than are remembered is right all the same', () => {
    for (let i = 0; i < 2_500; i += 1)
      expect(rename(`select lockkeeper.f(${i})`)).toBe(`select "x1".f(${i})`);
  });
});

describe('the files of sql/', () => {
  const files = sources('sql/**/*.sql');

  test('are as they are for the schema lockkeeper', () => {
    expect(files.length).toBeGreaterThan(20);
    expect(files.filter(({ text }) => sourceFor('lockkeeper', text) !== text)).toEqual([]);
  });

  test.each(files)('$path names nothing of the usual schema for another', ({ text }) => {
    const code = sourceFor('x1', text.replace(/--[^\n]*/g, ''));
    const left = code.match(
      /[^\n]*(lockkeeper_data|lockkeeper\.(?!yaml)|"lockkeeper"|'lockkeeper'|5505019530000000000)[^\n]*/g,
    );
    expect(left ?? []).toEqual([]);
    expect(code.match(/\blockkeeper deployments add/g)).toEqual(text.match(/\blockkeeper deployments add/g));
  });

  test('keep what is no schema', () => {
    const hint =
      "'Write it in lockkeeper.yaml or lockkeeper.jobs.ts; lockkeeper deployments add NAME; LOCKKEEPER_SCHEMA'";
    expect(sourceFor('x1', hint)).toBe(hint);
  });

  test('have names in texts too', () => {
    const text =
      "select nextval('lockkeeper_data.admissions'), 'lockkeeper'::regnamespace, format('lockkeeper.%I')";
    expect(sourceFor('x1', text)).toBe(
      `select nextval('"x1_data".admissions'), 'x1'::regnamespace, format('"x1".%I')`,
    );
  });
});
