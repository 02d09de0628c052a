/** What counts as killed, on reports as Vitest wrote them (recorded.json: paths replaced, and what passed left out). */

import { readFileSync } from 'node:fs';
import { expect, test } from 'vitest';
import { outcomeOf, type Report } from './outcome.ts';

const recorded: Record<string, Report> = JSON.parse(
  readFileSync(`${import.meta.dirname}/recorded.json`, 'utf8'),
);

test.each([
  ['killed', 'killed', "expected [ 'accepted' ] to deeply equal [ 'refused' ]"],
  ['missing-column', 'set-up', 'column l.over does not exist'],
  ['broken-typescript', 'set-up', 'Transform failed'],
  ['broken-import', 'set-up', "Cannot find module './gone.ts'"],
  ['not-defined', 'set-up', 'ReferenceError: rooms is not defined'],
  ['hook-failed', 'set-up', 'the set-up failed'],
])('%s: %s', (name, kind, message) => {
  expect(outcomeOf(recorded[name], '')).toMatchObject({
    kind,
    message: expect.stringContaining(message),
  });
});

test('survived', () => {
  expect(outcomeOf(recorded.survived, '')).toEqual({ kind: 'survived' });
});

test('SQL that migrate refuses: no test has run, and the output tells why', () => {
  const output = 'one\nerror: syntax error at or near "where"\n';
  expect(recorded['broken-sql']?.testResults).toEqual([]);
  for (const report of [recorded['broken-sql'], undefined])
    expect(outcomeOf(report, output)).toMatchObject({ kind: 'set-up', message: output.trim() });
});

test('who killed is told by test and file', () => {
  expect(outcomeOf(recorded.killed, '')).toMatchObject({
    test: 'after its end a lease can do nothing',
    file: '/place/test/leases.test.ts',
  });
});
