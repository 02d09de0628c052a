/** Lines of results and their verdicts, for figures that measure ours alone. */

import type { Result, Verdict } from '../types.ts';
import { median, spread } from './stats.ts';

/** The line of ours: median, least and greatest of the repeats. What is listed here has no key that could be exceeded. */
export function listed(bench: string, name: string, unit: string, values: readonly number[]): Result {
  return line({ bench, case: name, system: 'lockkeeper', unit, values });
}

/** The same of any system. */
export function line(
  given: Pick<Result, 'bench' | 'case' | 'system' | 'unit'> & { values: readonly number[] },
) {
  const { values, ...rest } = given;
  return {
    ...rest,
    value: median(values),
    spread: spread(values),
    overshoot: null,
    ratio: null,
  } satisfies Result;
}

/** Whether a rate is at least what it must be; the stretch is shown beside it. */
export function reached(result: Result, goal: number, stretch?: number): Verdict {
  const { bench, value, unit } = result;
  const more = stretch === undefined ? '' : ` (stretch ${stretch.toLocaleString('en')})`;
  return {
    bench,
    case: result.case,
    goal: `≥ ${goal.toLocaleString('en')} ${unit}${more}`,
    seen: `${Math.round(value).toLocaleString('en')} ${unit}`,
    met: value >= goal,
  };
}
