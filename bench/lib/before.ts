/** What an earlier version of ours was measured at, where docs/bench/before.json has it. */

import { existsSync, readFileSync } from 'node:fs';
import { z } from 'zod';
import type { Figure, Result, Verdict } from '../types.ts';
import { sameCase, shown } from './report.ts';

const file = new URL('../../docs/bench/before.json', import.meta.url);

const lines = z.array(
  z.object({
    bench: z.string(),
    case: z.string(),
    system: z.string(),
    value: z.number(),
    unit: z.string(),
    spread: z.tuple([z.number(), z.number()]),
    overshoot: z.number().nullable(),
    ratio: z.number().nullable(),
  }),
);

/** Lines as `--json` wrote them in the earlier version; none if the file is not there. */
function linesBefore(): Result[] {
  return existsSync(file) ? lines.parse(JSON.parse(readFileSync(file, 'utf8'))) : [];
}

/** Each line of ours with the earlier one below it, and a verdict on whether it is lower now. */
export function besideBefore(results: readonly Result[]): Figure {
  const before = linesBefore().filter(({ system }) => system === 'lockkeeper');
  const figure: Figure = { results: [], verdicts: [] };
  for (const now of results) {
    figure.results.push(now);
    const then = now.system === 'lockkeeper' ? before.find((each) => sameCase(each, now)) : undefined;
    if (!then) continue;
    figure.results.push({ ...then, system: 'lockkeeper, before', ratio: now.value / then.value });
    figure.verdicts.push(lower(now, then));
  }
  return figure;
}

function lower(now: Result, then: Result): Verdict {
  const { bench, unit, case: name } = now;
  const goal = `< ${shown(then.value)} ${unit}, as before`;
  return { bench, case: name, goal, seen: `${shown(now.value)} ${unit}`, met: now.value < then.value };
}
