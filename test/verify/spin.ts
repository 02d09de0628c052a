/** Runs Spin on a model, and reads what it says. */

import { execFile } from 'node:child_process';
import { cp, mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { promisify } from 'node:util';
import type { Case } from './cases.ts';

export type Search = {
  /** holds: all was searched and nothing found. */
  result: 'holds' | 'broken' | 'incomplete';
  /** What was found, or why the search is incomplete; empty if it holds. */
  found: string;
  states: number;
  depth: number;
  seconds: number;
};

const run = promisify(execFile);
/** The longest execution that is searched, and the megabytes that a search may take. */
const deepest = 100_000;
const megabytes = 2_500;

/** Reads the output of a verifier that Spin made; throws if it is none. */
export function readSearch(output: string): Search {
  const counted = /depth reached (\d+), errors: (\d+)/.exec(output);
  const states = /^\s*([\d.e+]+) states, stored/m.exec(output);
  const seconds = /elapsed time ([\d.e+-]+) seconds/.exec(output);
  if (!counted || !states)
    throw new Error(`Spin's verifier did not say what it found:\n${output.slice(-2000)}`);
  const error = /^pan:\d+: (.*?)(?: \(at depth \d+\))?$/m.exec(output)?.[1];
  const cut = /max search depth too small|reached -DMEMLIM bound|out of memory|Search not completed/.exec(
    output,
  )?.[0];
  const broken = Number(counted[2]) > 0;
  return {
    result: broken ? 'broken' : cut ? 'incomplete' : 'holds',
    found: broken ? (error ?? 'an error') : (cut ?? ''),
    states: Number(states[1]),
    depth: Number(counted[1]),
    seconds: Number(seconds?.[1] ?? 0),
  };
}

/** Of the programs that are needed, those that are not installed. */
export async function missingPrograms(): Promise<string[]> {
  const asked = ['spin -V', 'gcc --version'].map(async (command) => {
    const [program = '', ...args] = command.split(' ');
    return (await run(program, args).catch(() => undefined)) ? [] : [program];
  });
  return (await Promise.all(asked)).flat();
}

/** Searches all states of one case; a model that does not compile is an error. */
export async function search({ model, world, fault }: Case): Promise<Search> {
  const cwd = await mkdtemp(join(tmpdir(), 'lockkeeper-verify-'));
  try {
    await cp(import.meta.dirname, cwd, { recursive: true, filter: (path) => !path.endsWith('.ts') });
    const names = [...(world ? [`-DWORLD=${world}`] : []), ...(fault ? [`-D${fault}`] : [])];
    const { stdout } = await run('spin', ['-a', ...names, model], { cwd });
    if (/error/i.test(stdout)) throw new Error(`${model} is no model:\n${stdout}`);
    const options = ['-O2', '-w', '-DSAFETY', '-DCOLLAPSE', `-DMEMLIM=${megabytes}`, '-DVECTORSZ=2048'];
    await run('gcc', [...options, '-o', 'pan', 'pan.c'], { cwd });
    const said = await run('./pan', [`-m${deepest}`, '-w22'], { cwd, maxBuffer: 1e8 });
    return readSearch(said.stdout + said.stderr);
  } finally {
    await rm(cwd, { recursive: true });
  }
}

/** Whether the search shows what it should: a model without a fault holds; a fault is found, by a check that is in the model. */
export function isAsExpected({ fault }: Case, { result, found }: Search): boolean {
  if (fault === undefined) return result === 'holds';
  return result === 'broken' && /^(assertion violated|invalid end state)/.test(found);
}
