/**
 * Tries mutants: each in a scratch copy of the working tree, its likely test files first, then all others. All use one
 * database server; each run of Vitest makes a template database of its own from the SQL of its copy.
 */

import type { Mutant } from './mutant.ts';
import type { Outcome } from './outcome.ts';
import { Place } from './place.ts';

export type Tried = { mutant: Mutant; outcome: Outcome; seconds: number };

export type Options = {
  /** A server on which databases may be made. */
  databaseUrl: string;
  /** How many mutants are tried side by side. */
  atOnce: number;
  /** Only the likely files: what survives them is not tried on the others. */
  likelyOnly: boolean;
  signal: AbortSignal;
  onTried: (tried: Tried) => void;
};

/** They look at files, not at what Lockkeeper does: a mutant that they notice they notice as a text. */
const besideThePoint =
  /^test\/(house|docs|mutants|verify)\/|^test\/(package|embedded|embedded-binaries|cli-docs)\.test\.ts$/;

/** In their order. Throws when a test fails without any mutant: then nothing that fails with one would mean anything. */
export async function tryAll(mutants: readonly Mutant[], options: Options): Promise<Tried[]> {
  const stop = new AbortController();
  const signal = AbortSignal.any([options.signal, stop.signal]);
  const sound = new Place(options.databaseUrl);
  const places = Array.from({ length: options.atOnce }, () => new Place(options.databaseUrl));
  const tried: Tried[] = [];
  const left = [...mutants.entries()];
  const others = onceSound(sound, signal);

  async function work(place: Place): Promise<void> {
    for (let next = left.shift(); next; next = left.shift()) {
      const [index, mutant] = next;
      const began = process.hrtime.bigint();
      const outcome = await place.with(mutant, async () => {
        const first = await place.test(mutant.likely, signal);
        if (first.kind !== 'survived' || options.likelyOnly) return first;
        return place.test(await others(mutant.likely), signal);
      });
      const seconds = Number((process.hrtime.bigint() - began) / 1_000_000n) / 1_000;
      tried[index] = { mutant, outcome, seconds };
      options.onTried(tried[index]);
    }
  }

  try {
    await mustPass(sound, [...new Set(mutants.flatMap(({ likely }) => likely))], signal);
    const working = places.map((place) =>
      work(place).catch((error) => {
        stop.abort(error);
        throw error;
      }),
    );
    // None may work on in a folder that is gone.
    await Promise.allSettled(working);
    await Promise.all(working);
    return tried;
  } finally {
    for (const place of [sound, ...places]) place.remove();
  }
}

async function mustPass(sound: Place, files: readonly string[], signal: AbortSignal): Promise<void> {
  const outcome = await sound.test(files, signal);
  if (outcome.kind !== 'survived')
    throw new Error(`Without any mutant not all is well, so nothing was tried: ${said(outcome)}`);
}

/** Answers the other test files, once all of them have passed without any mutant. */
function onceSound(sound: Place, signal: AbortSignal): (likely: readonly string[]) => Promise<string[]> {
  const all = sound.testFiles().filter((file) => !besideThePoint.test(file));
  let passed: Promise<void> | undefined;
  return async (likely) => {
    passed ??= mustPass(sound, all, signal);
    await passed;
    return all.filter((file) => !likely.includes(file));
  };
}

/** An outcome in one line. */
export function said(outcome: Outcome): string {
  if (outcome.kind === 'survived') return 'SURVIVED: no test failed';
  const [message = ''] = outcome.message.trim().split('\n');
  if (outcome.kind === 'set-up')
    return `NOT KILLED, it broke before a test could tell: ${message.slice(0, 200)}`;
  return `${outcome.test} (${outcome.file})${/^\w*Error: Test timed out/.test(message) ? ', by its timeout' : ''}`;
}
