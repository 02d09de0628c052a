/** The parts of the bench that judge: what they count must be right, or every figure is wrong. */

import { readdirSync } from 'node:fs';
import { describe, expect, test, vi } from 'vitest';
import { figures } from '../bench/figures/index.ts';
import { askedOf } from '../bench/lib/arguments.ts';
import type { Mark } from '../bench/lib/marks.ts';
import type { FromFigure } from '../bench/lib/messages.ts';
import { gapsOf, handledOf, makespanMs, overshootOf, rateOf, useOf } from '../bench/lib/observer.ts';
import { measureParts } from '../bench/lib/parts.ts';
import { plotOf } from '../bench/lib/plots.ts';
import { figureText, peersAhead, shown } from '../bench/lib/report.ts';
import { median, medianInterval, quantile, ratioOfPairs, spread } from '../bench/lib/stats.ts';
import type { Result } from '../bench/types.ts';

/** An item as [number, start, end] in milliseconds. */
type Times = readonly [no: number, start: number, end: number];

const marksOf = (all: readonly Times[], key = ''): Mark[] =>
  all.flatMap(([no, start, end]): Mark[] => [
    { at: 'start', ns: start * 1e6, no, key },
    { at: 'end', ns: end * 1e6, no, key },
  ]);

const items = (count: number) => Array.from({ length: count }, (_, no) => ({ no }));

const history = (...all: Times[]) => handledOf([marksOf(all)], items(all.length));

describe('the observer', () => {
  test('sees an overshoot of one', () => {
    const over = history([0, 0, 10], [1, 0, 10], [2, 9, 20]);
    expect(overshootOf(over, 2)).toBe(1);
    expect(overshootOf(over, 3)).toBe(0);
  });

  test('what ends at the same moment is gone before what starts', () => {
    expect(overshootOf(history([0, 0, 10], [1, 10, 20]), 1)).toBe(0);
  });

  test('counts each key on its own, across processes', () => {
    const marks = [marksOf([[0, 0, 10]], 'a'), marksOf([[1, 5, 15]], 'b'), marksOf([[2, 8, 12]], 'a')];
    expect(overshootOf(handledOf(marks, items(3)), 1)).toBe(1);
    expect(overshootOf(handledOf(marks.slice(0, 2), items(2)), 1)).toBe(0);
  });

  test.each<[string, Mark[][], number, RegExp]>([
    ['was never started', [marksOf([[0, 0, 1]])], 2, /1 of 2 items were never started/],
    ['never ended', [marksOf([[0, 0, 1]]).slice(0, 1)], 1, /never ended/],
    [
      'was started twice',
      [marksOf([[0, 0, 1]]), marksOf([[0, 2, 3]])],
      1,
      /started twice, by processes 0 and 1/,
    ],
    [
      'ended elsewhere',
      [marksOf([[0, 0, 1]]).slice(0, 1), marksOf([[0, 0, 1]]).slice(1)],
      1,
      /did not start it/,
    ],
    ['nobody submitted', [marksOf([[7, 0, 1]])], 1, /never submitted/],
  ])('throws at an item that %s', (_, marks, count, message) => {
    expect(() => handledOf(marks, items(count))).toThrow(message);
  });

  test('knows the use, the makespan and the rate', () => {
    const all = history([0, 0, 40], [1, 0, 50], [2, 50, 100]);
    expect(makespanMs(all)).toBe(100);
    expect(useOf(all, 2)).toBeCloseTo(0.7);
    expect(rateOf(all)).toBeCloseTo(30);
  });

  test('a gap is from the end before on that slot to the next start', () => {
    const all = history([0, 0, 50], [1, 0, 52], [2, 53, 103], [3, 57, 107]);
    expect(gapsOf(all, 2).map(({ no, ms }) => [no, ms])).toEqual([
      [2, 3],
      [3, 5],
    ]);
  });

  test('a slot of a key that was not full was handed to nobody', () => {
    expect(gapsOf(history([0, 0, 10], [1, 30, 40]), 2)).toEqual([]);
  });

  test('a gap knows whether it is between processes', () => {
    const marks = [
      marksOf([
        [0, 0, 10],
        [2, 24, 30],
      ]),
      marksOf([[1, 12, 22]]),
    ];
    const gaps = gapsOf(handledOf(marks, items(3)), 1);
    expect(gaps.map(({ ms, samePod }) => [ms, samePod])).toEqual([
      [2, false],
      [2, false],
    ]);
  });
});

describe('statistics', () => {
  test('median, quantile and spread', () => {
    expect(median([3, 1, 2])).toBe(2);
    expect(spread([3, 1, 2])).toEqual([1, 3]);
    const hundred = Array.from({ length: 100 }, (_, i) => i + 1);
    expect(quantile(hundred, 0.99)).toBeCloseTo(99.01);
  });

  test('the interval of a median has the ranks of the table', () => {
    const upTo = (n: number) => Array.from({ length: n }, (_, i) => i + 1);
    expect(medianInterval(upTo(5))).toEqual({ median: 3, low: 1, high: 5 });
    expect(medianInterval(upTo(10))).toEqual({ median: 5.5, low: 2, high: 9 });
    expect(medianInterval(upTo(200))).toEqual({ median: 100.5, low: 86, high: 115 });
    // 0.5 ** 2000 is 0 as a number.
    expect(medianInterval(upTo(2_000)).low).toBeGreaterThan(900);
  });

  test('a ratio is that of the pairs, not of the medians', () => {
    expect(ratioOfPairs([2, 20, 200], [1, 10, 100]).median).toBe(2);
    expect(() => ratioOfPairs([1], [])).toThrow('make no pairs');
  });
});

describe('the command line', () => {
  const known = ['exact', 'use'];

  test('all figures without a name, in the order of the bench with', () => {
    expect(askedOf([], known)).toEqual({ names: known, quick: false, json: undefined, docs: false });
    expect(askedOf(['use', 'exact', '--quick', '--json', 'x.json'], known)).toEqual({
      names: known,
      quick: true,
      json: 'x.json',
      docs: false,
    });
  });

  test('an unknown figure and an unknown option are refused', () => {
    expect(() => askedOf(['fast'], known)).toThrow('There is no figure fast; allowed: exact, use');
    expect(() => askedOf(['--fast'], known)).toThrow('--fast');
  });

  test('every file of a figure is listed', () => {
    const files = readdirSync(new URL('../bench/figures', import.meta.url))
      .map((file) => file.slice(0, -'.ts'.length))
      .filter((name) => name !== 'index');
    expect(Object.keys(figures).toSorted()).toEqual(files.toSorted());
  });

  test.each(Object.entries(figures))('%s has its own name', async (name, load) => {
    expect((await load()).name).toBe(name);
  });
});

describe('the parts of a figure', () => {
  const verdict = (part: string) => ({ bench: 'use', case: part, goal: '', seen: '', met: true });
  const good = (name: string) => ({
    name,
    measure: async () => ({ results: [], verdicts: [verdict(name)] }),
  });
  const bad = { name: 'bad', measure: () => Promise.reject(new Error('no disk\nleft')) };
  const nothing = { results: [], verdicts: [] };

  test('one that fails is a verdict, and the others are measured', async () => {
    const shown = vi.spyOn(console, 'error').mockImplementation(() => {});
    const told: FromFigure[] = [];
    const known = { figure: nothing, through: [] };
    const { verdicts } = await measureParts('use', { quick: true }, known, [bad, good('a')], (message) =>
      told.push(message),
    );
    expect(verdicts).toEqual([
      { bench: 'use', case: 'bad', goal: 'measured', seen: 'no disk', met: false, failed: true },
      verdict('a'),
    ]);
    expect(told.map(({ kind }) => kind)).toEqual(['begin', 'part', 'begin', 'part']);
    expect(shown).toHaveBeenCalledOnce();
    shown.mockRestore();
  });

  test('what an earlier process has measured is not measured again', async () => {
    const known = { figure: { results: [], verdicts: [verdict('a')] }, through: ['a', 'bad'] };
    const { verdicts } = await measureParts(
      'use',
      { quick: true },
      known,
      [good('a'), bad, good('b')],
      () => {},
    );
    expect(verdicts.map((each) => each.case)).toEqual(['a', 'b']);
  });
});

describe('the report', () => {
  const result = (system: string, value: number, more: Partial<Result> = {}): Result => ({
    bench: 'use',
    case: 'limit 10',
    system,
    value,
    unit: '%',
    spread: [value - 1, value + 1],
    overshoot: 0,
    ratio: null,
    ...more,
  });

  test('a peer is ahead with more of a rate, less of a time, and never by going over', () => {
    const names = (...results: Result[]) => peersAhead(results).map(({ peer }) => peer.system);
    expect(names(result('lockkeeper', 90), result('a', 95), result('b', 80))).toEqual(['a']);
    expect(names(result('lockkeeper', 90), result('a', 95, { overshoot: 1 }))).toEqual([]);
    const ms = { unit: 'ms' };
    expect(names(result('lockkeeper', 9, ms), result('a', 8, ms), result('b', 10, ms))).toEqual(['a']);
  });

  test('numbers have the digits that count', () => {
    expect([0, 0.01234, 1.2345, 123.45, 12_345.6].map(shown)).toEqual([
      '0',
      '0.012',
      '1.235',
      '123.5',
      '12,346',
    ]);
  });

  test('a table names the goal and whether it was met', () => {
    const verdict = { bench: 'use', case: 'limit 10', goal: '≥ 95 %', seen: '90 %', met: false };
    const text = figureText('use', { results: [result('lockkeeper', 90)], verdicts: [verdict] });
    expect(text).toContain('≥ 95 %');
    expect(text).toContain('missed');
  });

  test('a plot is an SVG with a bar for each system', async () => {
    const svg = await plotOf('use', [result('lockkeeper', 90), result('pg-boss', 70)]);
    expect(svg).toMatch(/^<svg/);
    expect(svg).toContain('pg-boss');
    expect(await plotOf('one', [result('lockkeeper', 90)])).toBeUndefined();
  });
});
