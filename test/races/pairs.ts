/**
 * All pairs of a set of calls, as tests: the first stays open, or is stopped at each lock that it comes to, and the second
 * comes. `npm test` plays a fixed part of them, the pairs of what happens all the time twice; with `RACES=all` in the
 * environment everything is played.
 */

import { expect, test } from 'vitest';
import { type Arena, type Case, story, whole } from './arena.ts';
import { type Call, calls, gates } from './calls.ts';

/** What happens all the time, and what cuts into it hardest. */
const often = new Set(
  'submit|lane|admit|claim of a|claim of one step by c|finish of extract and scan|cancel of what waits|force|apply that lowers|apply that adds a limit|reap|sweep|renew of b'.split(
    '|',
  ),
);

/**
 * A test for each pair of these calls with any other. `unstopped`: which of them come to no lock of others in this world, and can
 * only stay open. `every`: of the pairs that are not of `often`, one of so many.
 */
export function tellPairs(
  arena: Arena,
  firsts: readonly Call[],
  { unstopped, every = 12 }: { unstopped: string[]; every?: number },
): void {
  const stopsOf = new Map(firsts.map((first) => [first, lookOnce(arena, first)]));
  test('all others come to a lock where they can be stopped', { timeout: 300_000 }, async () => {
    const never: string[] = [];
    for (const [{ name }, stops] of stopsOf) if ((await stops()).length === 0) never.push(name);
    expect(never).toEqual(unstopped);
  });
  for (const [first, stops] of stopsOf) {
    for (const [i, second] of calls.entries()) {
      const core = often.has(first.name) && often.has(second.name);
      const number = calls.indexOf(first) + 7 * i;
      if (!whole && !core && number % every > 0) continue;
      test(`${first.name}, and ${second.name} comes`, { timeout: 120_000 }, async () => {
        const all = [[], ...(await stops()).map((gate) => [gate])] as Case['at'][];
        const some = whole
          ? all
          : [all[number % all.length], ...(core ? [all[(number + 1) % all.length]] : [])];
        const found: Record<string, string[]> = {};
        for (const at of some as Case['at'][]) {
          const { wrong } = await arena.play({ calls: [first, second], at });
          if (wrong.length > 0) found[story({ calls: [first, second], at })] = wrong;
        }
        expect(found).toEqual({});
      });
    }
  }
}

/** The gates at which a call stops in this world; looked for once. */
export function lookOnce(arena: Arena, call: Call): () => Promise<typeof gates> {
  let found: Promise<typeof gates> | undefined;
  const look = async () => {
    const stops: typeof gates = [];
    for (const gate of gates) if (await arena.stopsAt(call, gate)) stops.push(gate);
    return stops;
  };
  return () => {
    found ??= look();
    return found;
  };
}
