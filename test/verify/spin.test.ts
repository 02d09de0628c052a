/** The table names what is in the models, and what Spin says is understood. */

import { readFileSync } from 'node:fs';
import { expect, test } from 'vitest';
import { cases, nameOf } from './cases.ts';
import { isAsExpected, readSearch } from './spin.ts';

const files = ['sleep.pml', 'keys.pml', 'lease.pml'];
const text = (file: string) => readFileSync(`${import.meta.dirname}/${file}`, 'utf8');
const of = (model: string) => text(model) + (model === 'sleep.pml' ? text('keys.pml') : '');

test('each case has a name of its own, and each fault says what it breaks', () => {
  expect(new Set(cases.map(nameOf)).size).toBe(cases.length);
  for (const one of cases) expect(one.fault === undefined, nameOf(one)).toBe(one.breaks === undefined);
});

test.each(cases.map((one) => ({ name: nameOf(one), one })))('$name is in its model', ({ one }) => {
  const model = of(one.model);
  if (one.world) expect(model).toMatch(new RegExp(`^#define ${one.world} \\d`, 'm'));
  if (one.fault) expect(model).toMatch(new RegExp(`^#(ifdef|ifndef|if) .*\\b${one.fault}\\b`, 'm'));
});

test('each fault in a model is tried, and beside each fault its world is checked without', () => {
  const named = files.flatMap((file) => [...text(file).matchAll(/^#(?:ifdef|ifndef|if) .*$/gm)]);
  const faults = new Set(named.flatMap(([line]) => line.match(/\b(NO|WITH)_[A-Z_]+\b/g) ?? []));
  expect(new Set(cases.flatMap(({ fault }) => fault ?? []))).toEqual(faults);
  for (const { model, world } of cases.filter(({ fault }) => fault))
    expect(cases.some((one) => !one.fault && one.model === model && one.world === world)).toBe(true);
});

const holds = `
(Spin Version 6.5.2 -- 6 December 2019)
State-vector 100 byte, depth reached 111, errors: 0
  1181333 states, stored
pan: elapsed time 4.7 seconds
`;
const broken = `pan:1: assertion violated ((over[0]||(work[0]==0))||(work[2]==0)) (at depth 45)
pan: wrote lease.pml.trail
Warning: Search not completed
State-vector 100 byte, depth reached 103, errors: 1
     3551 states, stored
pan: elapsed time 0.03 seconds
`;

test.each([
  ['holds', holds],
  ['broken', broken],
  ['incomplete', `error: max search depth too small\n${holds}`],
  ['incomplete', `pan: reached -DMEMLIM bound\n${holds}Warning: Search not completed`],
] as const)('reads that a search %s', (result, output) => {
  expect(readSearch(output).result).toBe(result);
});

test('reads the figures and what was violated', () => {
  expect(readSearch(holds)).toEqual({
    result: 'holds',
    found: '',
    states: 1181333,
    depth: 111,
    seconds: 4.7,
  });
  expect(readSearch(broken).found).toContain('assertion violated');
  expect(() => readSearch('pan: command not found')).toThrow(/did not say/);
});

test('an incomplete search is never as expected', () => {
  const [model, fault] = [cases.find((one) => !one.fault), cases.find((one) => one.fault)];
  if (!model || !fault) throw new Error('no case');
  const incomplete = readSearch(`error: max search depth too small\n${holds}`);
  expect([isAsExpected(model, incomplete), isAsExpected(fault, incomplete)]).toEqual([false, false]);
  expect([isAsExpected(model, readSearch(holds)), isAsExpected(fault, readSearch(holds))]).toEqual([
    true,
    false,
  ]);
  expect([isAsExpected(model, readSearch(broken)), isAsExpected(fault, readSearch(broken))]).toEqual([
    false,
    true,
  ]);
});
