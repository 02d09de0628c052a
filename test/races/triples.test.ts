/** Three at once: two are stopped, each at a lock of its own where it comes so far, the third comes, and the locks are let go. */

import { expect, test } from 'vitest';
import { type Case, openArena, story, whole } from './arena.ts';
import { type Call, calls, type Gate } from './calls.ts';
import { lookOnce } from './pairs.ts';

const arena = await openArena();

const triples = [
  ['finish of extract and scan', 'claim of a', 'apply that adds a limit'],
  ['finish of extract and scan', 'claim of one step by c', 'cancel of what waits'],
  ['admit', 'cancel of what is new', 'finish of extract and scan'],
  ['admit', 'force', 'set_priority'],
  ['lane', 'set_priority', 'cancel of what is new'],
  ['claim of a', 'claim of one step by c', 'force'],
  ['reap', 'renew of b', 'finish of b, which has run out'],
  ['reap', 'close of b', 'register of a new version'],
  ['sweep', 'finish of slow, late', 'cancel of what runs'],
  ['force of one', 'finish of extract and scan', 'claim of a'],
  ['apply that lowers', 'admit', 'finish of extract and scan'],
  ['serve', 'register of a new version', 'close of a'],
  ['collect_keys', 'lane', 'submit'],
  ['delete_deployment', 'submit to a branch', 'admit'],
  ['retry', 'archive', 'retry'],
  ['expire', 'cancel of what is new', 'admit'],
] as const;

const called = (name: string) => calls.find((call) => call.name === name) as Call;
const stopsOf = new Map(calls.map((call) => [call.name, lookOnce(arena, call)]));
const lookedUp = async (name: string) => (await stopsOf.get(name)?.()) ?? [];
const isConfiguration = ({ name }: Gate) => name.startsWith('the configuration');
const canBothBeHeld = (one: Gate, two: Gate) =>
  one.name !== two.name && !(isConfiguration(one) && isConfiguration(two));
/** Without `RACES=all`, one case of so many of each triple. */
const every = whole ? 1 : 23;

/** All orders in which they come, at all pairs of locks of the first two, let go in either order. */
async function casesOf(names: readonly string[]): Promise<Case[]> {
  const found: Case[] = [];
  for (const first of names)
    for (const second of names.filter((name) => name !== first)) {
      const third = names.find((name) => name !== first && name !== second) ?? first;
      const all = [first, second, third].map(called);
      const ones = await lookedUp(first);
      const twos = await lookedUp(second);
      for (const one of ones) {
        // A second that comes to no lock is not stopped.
        if (twos.length === 0) found.push({ calls: all, at: [one] });
        for (const two of twos.filter((each) => canBothBeHeld(one, each)))
          found.push({ calls: all, at: [one, two] }, { calls: all, at: [two, one] });
      }
    }
  return found;
}

test.each(triples)('%s, %s and %s', { timeout: 3_600_000 }, async (...names) => {
  const found: Record<string, string[]> = {};
  const cases = (await casesOf(names)).filter((_, i) => i % every === 0);
  expect(cases).not.toEqual([]);
  for (const each of cases) {
    const { wrong } = await arena.play(each);
    if (wrong.length > 0) found[story(each)] = wrong;
  }
  expect(found).toEqual({});
});
