/** Medians, quantiles, and what a ratio of pairs is worth. */

import { median as medianOf, quantileSorted } from 'simple-statistics';

/** The middle value; of an even number, the mean of the middle two. Throws when there is none. */
export const median = (values: readonly number[]): number => medianOf([...values]);

/** The value that the share `p` does not exceed (0.99: p99), interpolated between the two nearest. */
export function quantile(values: readonly number[], p: number): number {
  return quantileSorted(sorted(values), p);
}

/** The least and the greatest. */
export function spread(values: readonly number[]): [number, number] {
  const all = sorted(values);
  return [at(all, 0), at(all, all.length - 1)];
}

/** A median and the ends of its 95 % interval. */
export type Interval = { median: number; low: number; high: number };

/**
 * A 95 % interval of the median that assumes nothing about how the values are distributed: how many of them lie below
 * the true median is a matter of coin throws, so its ends are the values at two ranks. With fewer than six values no
 * interval is that sure, and it is the whole range.
 */
export function medianInterval(values: readonly number[]): Interval {
  const all = sorted(values);
  const skipped = Math.max(0, ranksOutside(all.length) - 1);
  return { median: median(all), low: at(all, skipped), high: at(all, all.length - 1 - skipped) };
}

/** Of pairs that were measured in turn: the median of a[i] ÷ b[i], with its interval. */
export function ratioOfPairs(a: readonly number[], b: readonly number[]): Interval {
  if (a.length !== b.length) throw new Error(`${a.length} and ${b.length} values make no pairs.`);
  return medianInterval(a.map((value, i) => value / at(b, i)));
}

/** The most ranks that may be left out on each side: P(fewer heads than that in n throws) ≤ 2.5 %. */
function ranksOutside(n: number): number {
  let ranks = 0;
  // Logarithms, since 0.5 ** n is 0 for a thousand throws.
  let logProbability = n * Math.log(0.5);
  let below = Math.exp(logProbability);
  while (below <= 0.025 && ranks < n / 2) {
    ranks += 1;
    logProbability += Math.log((n - ranks + 1) / ranks);
    below += Math.exp(logProbability);
  }
  return ranks;
}

const sorted = (values: readonly number[]) => values.toSorted((a, b) => a - b);

function at(values: readonly number[], index: number): number {
  const value = values[index];
  if (value === undefined) throw new Error(`There is no value ${index} of ${values.length}.`);
  return value;
}
