/** The parts of a figure, in the process that measures it: one that fails is a verdict, and the others are measured. */

import type { Context, Figure, Part, Verdict } from '../types.ts';
import type { FromFigure } from './messages.ts';

/** How long a part may take that says nothing of it, in seconds: many times what it should. */
const seconds = { quick: 180, full: 900 };

/** What is known already, of a process that was ended in the middle of a part. */
export type Known = {
  figure: Figure;
  /** Parts that are through, whether they failed or not. */
  through: readonly string[];
};

/** Measures all parts that are not through; `tell` hears of each beginning, and of what each gave. */
export async function measureParts(
  bench: string,
  { quick }: Pick<Context, 'quick'>,
  { figure, through }: Known,
  parts: readonly Part[],
  tell: (message: FromFigure) => void,
): Promise<Figure> {
  let all = figure;
  for (const part of parts.filter(({ name }) => !through.includes(name))) {
    const atMost = part.seconds ?? (quick ? seconds.quick : seconds.full);
    tell({ kind: 'begin', part: part.name, seconds: atMost });
    const measured = await part.measure().catch((error: unknown) => {
      console.error(`${bench}, ${part.name} could not be measured:`, error);
      return failure(bench, part.name, messageOf(error));
    });
    tell({ kind: 'part', part: part.name, figure: measured });
    all = together(all, measured);
  }
  return all;
}

/** A part that could not be measured, as its only verdict. */
export function failure(bench: string, part: string, reason: string): Figure {
  const verdict: Verdict = { bench, case: part, goal: 'measured', seen: reason, met: false, failed: true };
  return { results: [], verdicts: [verdict] };
}

/** One after the other. */
export const together = (...figures: readonly Figure[]): Figure => ({
  results: figures.flatMap(({ results }) => results),
  verdicts: figures.flatMap(({ verdicts }) => verdicts),
});

/** The first line of what was thrown. */
export const messageOf = (error: unknown): string =>
  (error instanceof Error ? error.message : String(error)).split('\n')[0] ?? '';
