/** Marks: when a handler started and ended, by the monotonic clock that all processes of a machine share. */

import { closeSync, openSync, readFileSync, writeSync } from 'node:fs';

export type Mark = {
  at: 'start' | 'end';
  /** Nanoseconds of the monotonic clock. */
  ns: number;
  /** Of the item. */
  no: number;
  /** Whose capacity the item is counted against: its tenant, or '' where all items share one limit. */
  key: string;
};

export type MarkFile = {
  start(no: number, key: string): void;
  end(no: number, key: string): void;
  /** Writes what is still in memory. */
  close(): void;
};

/** A write this long takes some tens of microseconds, so no handler's timer is late for it. */
const bufferedCharacters = 64 * 1_024;

/** The monotonic clock, in nanoseconds; a number is exact enough for more than a hundred days after boot. */
export const nowNs = (): number => Number(process.hrtime.bigint());

/** Marks of one process, in a file of its own: a line in memory for each, written now and then. */
export function markFile(path: string): MarkFile {
  const file = openSync(path, 'w');
  let lines = '';
  const flush = () => {
    writeSync(file, lines);
    lines = '';
  };
  const add = (at: string, no: number, key: string) => {
    lines += `${at} ${nowNs()} ${no} ${key}\n`;
    if (lines.length > bufferedCharacters) flush();
  };
  return {
    start: (no, key) => add('s', no, key),
    end: (no, key) => add('e', no, key),
    close: () => {
      flush();
      closeSync(file);
    },
  };
}

/** All marks of a file, in the order in which they were made. */
export function readMarks(path: string): Mark[] {
  const lines = readFileSync(path, 'utf8').split('\n').slice(0, -1);
  return lines.map((line): Mark => {
    const [at = '', ns, no, ...key] = line.split(' ');
    return { at: at === 's' ? 'start' : 'end', ns: Number(ns), no: Number(no), key: key.join(' ') };
  });
}
