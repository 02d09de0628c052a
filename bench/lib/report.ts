/** Results and verdicts as tables for the terminal, and as rows for the page. */

import Table from 'cli-table3';
import type { Figure, Result, Verdict } from '../types.ts';

export const resultHead = ['case', 'system', 'median', 'unit', 'spread', 'overshoot', 'ours ÷ this'] as const;
export const verdictHead = ['case', 'must reach', 'seen', ''] as const;

/** Four digits that count, at most. */
export function shown(value: number): string {
  const digits = Math.min(3, Math.max(0, 3 - Math.floor(Math.log10(Math.abs(value) || 1))));
  return value.toLocaleString('en', { maximumFractionDigits: digits });
}

/** The cells of a result, below `resultHead`. */
export function resultRow(result: Result): string[] {
  const { system, value, unit, spread, overshoot, ratio } = result;
  return [
    result.case,
    system,
    shown(value),
    unit,
    `${shown(spread[0])} – ${shown(spread[1])}`,
    overshoot === null ? '' : String(overshoot),
    ratio === null ? '' : shown(ratio),
  ];
}

/** The cells of a verdict, below `verdictHead`. */
export const verdictRow = ({ case: name, goal, seen, met, failed }: Verdict): string[] => [
  name,
  goal,
  seen,
  failed ? 'failed' : met ? 'met' : 'missed',
];

/** A figure as text. */
export function figureText(title: string, { results, verdicts }: Figure): string {
  const parts = [title, tableText(resultHead, results.map(resultRow))];
  if (verdicts.length > 0) parts.push(tableText(verdictHead, verdicts.map(verdictRow)));
  return parts.join('\n');
}

/** All verdicts of all figures as text. */
export function verdictsText(verdicts: readonly Verdict[]): string {
  return tableText(
    ['bench', ...verdictHead],
    verdicts.map((verdict) => [verdict.bench, ...verdictRow(verdict)]),
  );
}

function tableText(head: readonly string[], rows: readonly string[][]): string {
  const table = new Table({ head: [...head], style: { head: [], border: [], compact: true } });
  table.push(...rows);
  return table.toString();
}

/** Whether more of this unit is better: rates and shares. Of times, sizes and counts, less is. */
export const moreIsBetter = (unit: string): boolean => /(\/s|a second|%)$/.test(unit);

/** A line where a peer did better than we did in the same case. */
export type Ahead = { peer: Result; ours: Result };

/** Where peers are ahead, computed from the results: better, and not by going over the limit. */
export function peersAhead(results: readonly Result[]): Ahead[] {
  return results.flatMap((peer) => {
    const ours = results.find((each) => each.system === 'lockkeeper' && sameCase(each, peer));
    if (!ours || peer.system === 'lockkeeper' || peer.system.startsWith('floor') || (peer.overshoot ?? 0) > 0)
      return [];
    const better = moreIsBetter(peer.unit) ? peer.value > ours.value : peer.value < ours.value;
    return better ? [{ peer, ours }] : [];
  });
}

/** Whether two results can be compared. */
export const sameCase = (a: Result, b: Result): boolean =>
  a.bench === b.bench && a.case === b.case && a.unit === b.unit;
