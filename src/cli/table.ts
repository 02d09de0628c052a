/** Tables without borders. */

import Table from 'cli-table3';
import { type Colours, coloursOf, type Io } from './io.ts';
import { harmless, shownValue } from './text.ts';

export type Column<Row> = {
  head: string;
  of(row: Row): unknown;
  /** Colours a cell; gets its text harmless. */
  paint?: (text: string, colours: Colours, row: Row) => string;
  right?: boolean;
};

const sides = ['top', 'bottom', 'left', 'right', 'mid'];
const corners = ['top-mid', 'top-left', 'top-right', 'bottom-mid', 'bottom-left', 'bottom-right'];
const crossings = ['left-mid', 'mid-mid', 'right-mid', 'middle'];
const blank = Object.fromEntries([...sides, ...corners, ...crossings].map((name) => [name, '']));

/** A row a line; whatever is in the cells is made harmless. */
export function table<Row>(io: Io, columns: readonly Column<Row>[], rows: readonly Row[]): string {
  const colours = coloursOf(io);
  const made = new Table({
    head: columns.map(({ head }) => colours.dim(head)),
    chars: blank,
    style: { 'padding-left': 0, 'padding-right': 2, head: [], border: [] },
    colAligns: columns.map(({ right }) => (right ? 'right' : 'left')),
  });
  for (const row of rows) {
    made.push(
      columns.map(({ of, paint }) => {
        const text = harmless(shownValue(of(row)));
        return paint ? paint(text, colours, row) : text;
      }),
    );
  }
  return made
    .toString()
    .split('\n')
    .map((each) => each.trimEnd())
    .join('\n');
}

/** The colour of a state of a run or a step. */
export function paintState(state: string, colours: Colours): string {
  if (state === 'succeeded') return colours.green(state);
  if (state === 'failed') return colours.red(state);
  if (state === 'running' || state === 'admitted') return colours.cyan(state);
  if (state === 'queued' || state === 'ready') return colours.yellow(state);
  return colours.dim(state);
}
