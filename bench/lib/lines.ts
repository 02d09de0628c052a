/** Lines of results and their verdicts, for figures that measure ours alone. */

import type { Context, Figure, Result, Verdict } from '../types.ts';
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

/** What a case of rates must reach; without a goal it is only listed. */
export type RateCase = { name: string; goal?: number; stretch?: number };

/** Measures each case of ours as often as the context says, and judges those that have a goal. */
export async function ratesOf<Case extends RateCase>(
  context: Context,
  bench: string,
  unit: string,
  cases: readonly Case[],
  once: (context: Context, one: Case) => Promise<number>,
): Promise<Figure> {
  const measure = async (each: Case): Promise<Figure> => {
    const result = listed(bench, each.name, unit, await repeated(context, () => once(context, each)));
    context.say(`${each.name}: ${Math.round(result.value)} ${unit}`);
    const verdicts = each.goal === undefined ? [] : [reached(result, each.goal, each.stretch)];
    return { results: [result], verdicts };
  };
  return context.parts(cases.map((each) => ({ name: each.name, measure: () => measure(each) })));
}

/** What one measurement gives, as often as the context says. */
export async function repeated<T>({ repeats }: Context, once: () => Promise<T>): Promise<T[]> {
  const values: T[] = [];
  for (let i = 0; i < repeats; i += 1) values.push(await once());
  return values;
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
