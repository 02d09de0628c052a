/** Marks: when a handler started and ended, by the monotonic clock that all processes of a machine share. */

import { openSync, readdirSync, readFileSync, writeSync } from 'node:fs';
import { join } from 'node:path';
import type { Keys } from './workload.ts';

export type Mark = {
  at: 'start' | 'end';
  /** Nanoseconds since the trial began. */
  time: number;
  run: string;
  /** The number that the trial gave the run. */
  no: number;
  step: string;
  attempt: number;
  runKeys?: Keys;
  stepKeys?: Keys;
  outcome?: 'succeeded' | 'failed';
};

/** Nanoseconds since `base`, a reading of the same clock, in a number that is exact. */
export const since = (base: bigint): number => Number(process.hrtime.bigint() - base);

/** Appends marks to a process's own file: each is one write, so that a kill leaves no half of one but the last. */
export function markFile(folder: string, pod: string): (mark: Mark) => void {
  const file = openSync(join(folder, `${pod}.marks`), 'a');
  return (mark) => writeSync(file, `${JSON.stringify(mark)}\n`);
}

/** All marks of a folder, by the pod that wrote them. */
export function readMarks(folder: string): Map<string, Mark[]> {
  const marks = new Map<string, Mark[]>();
  for (const name of readdirSync(folder).filter((each) => each.endsWith('.marks'))) {
    // The text after the last line end is empty, or half a line of a process that was killed.
    const lines = readFileSync(join(folder, name), 'utf8').split('\n').slice(0, -1);
    marks.set(
      name.slice(0, -'.marks'.length),
      lines.map((line) => JSON.parse(line) as Mark),
    );
  }
  return marks;
}
