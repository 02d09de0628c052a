/** A figure as bars, an SVG without a browser. */

import { type LoggerInterface, parse, View } from 'vega';
import { compile, type TopLevelSpec } from 'vega-lite';
import type { Result } from '../types.ts';
import { sameCase } from './report.ts';

/** Readable on a light and on a dark page alike: on a ground of its own. */
const colors = { ours: '#1a7f5a', other: '#9aa5b1', line: '#1f2933', ground: '#ffffff' };

/** The bars of a figure as SVG; undefined for one that has nothing to compare. */
export async function plotOf(title: string, results: readonly Result[]): Promise<string | undefined> {
  const compared = results.filter((a) => results.some((b) => b.system !== a.system && sameCase(a, b)));
  const spec = compared.length > 0 ? bySystem(title, compared) : byCase(title, results);
  if (!spec) return undefined;
  const view = new View(parse(compile(spec, { logger: loud }).spec), { renderer: 'none', logger: loud });
  try {
    return `${await view.toSVG()}\n`;
  } finally {
    view.finalize();
  }
}

/** One row of bars for each case: the systems. */
const bySystem = (title: string, results: readonly Result[]) =>
  bars(title, results, { panel: (each) => `${each.case} (${each.unit})`, bar: ({ system }) => system });

/** Where there are no peers: the cases of each unit. */
function byCase(title: string, results: readonly Result[]): TopLevelSpec | undefined {
  if (results.length < 2) return undefined;
  return bars(title, results, { panel: ({ unit }) => unit, bar: (each) => each.case });
}

type Words = { panel(result: Result): string; bar(result: Result): string };

function bars(title: string, results: readonly Result[], words: Words): TopLevelSpec {
  const panels = [...Map.groupBy(results, words.panel)];
  return {
    title,
    background: colors.ground,
    vconcat: panels.map(([name, ofPanel]) => panelOf(name, ofPanel, words)),
  };
}

/** As wide as the names of systems and cases need; the same for all panels, so that their bars begin below each other. */
const namesWidth = 240;

type Panel = Extract<TopLevelSpec, { vconcat: unknown }>['vconcat'][number];

function panelOf(title: string, results: readonly Result[], { bar }: Words): Panel {
  const values = results.map((result) => ({
    bar: bar(result),
    who: result.system === 'lockkeeper' ? 'ours' : 'other',
    value: result.value,
    low: result.spread[0],
    high: result.spread[1],
  }));
  const axis = { labelLimit: namesWidth, minExtent: namesWidth, maxExtent: namesWidth } as const;
  const y = { field: 'bar', type: 'nominal', sort: null, title: null, axis } as const;
  const color = {
    field: 'who',
    scale: { domain: ['ours', 'other'], range: [colors.ours, colors.other] },
    legend: null,
  };
  const length = { field: 'value', type: 'quantitative', title: null } as const;
  const low = { field: 'low', type: 'quantitative', title: null } as const;
  return {
    title: { text: title, anchor: 'start', fontWeight: 'normal' },
    data: { values },
    width: 480,
    height: { step: 20 },
    layer: [
      { mark: 'bar', encoding: { y, x: length, color } },
      { mark: { type: 'rule', color: colors.line }, encoding: { y, x: low, x2: { field: 'high' } } },
    ],
  };
}

/** What vega warns of is a mistake in the lines above. */
const loud: LoggerInterface = {
  level(_level?: number) {
    return loud;
  },
  error(...args) {
    throw new Error(args.join(' '));
  },
  warn(...args) {
    throw new Error(args.join(' '));
  },
  info: () => loud,
  debug: () => loud,
};
