/** The five processes of part 1. */

import { type ChildProcess, fork } from 'node:child_process';
import { once } from 'node:events';
import { fileURLToPath } from 'node:url';
import type { PodOptions } from './pod.ts';

export type Pod = { name: string; process: ChildProcess };

const program = fileURLToPath(new URL('./pod.ts', import.meta.url));

const roles = {
  'worker-1': 'worker',
  'worker-2': 'worker',
  'worker-3': 'worker',
  'coordinator-1': 'coordinator',
  'coordinator-2': 'coordinator',
} as const;

/** Starts all and waits until each is at work. */
export async function startPods(options: Omit<PodOptions, 'name' | 'role'>): Promise<Pod[]> {
  const pods = Object.entries(roles).map(([name, role]): Pod => {
    const told: PodOptions = { ...options, name, role };
    return { name, process: fork(program, [JSON.stringify(told)], { execPath: process.execPath }) };
  });
  await Promise.all(pods.map(({ process }) => Promise.race([once(process, 'message'), failed(process)])));
  return pods;
}

async function failed(child: ChildProcess): Promise<never> {
  const [code, signal] = await once(child, 'exit');
  throw new Error(`A pod ended with ${signal ?? code} instead of starting.`);
}

/** Asks all that live to drain; a line for each that did not exit with 0. */
export async function stopPods(pods: readonly Pod[]): Promise<string[]> {
  const wrong: string[] = [];
  const stop = async ({ name, process }: Pod) => {
    if (process.exitCode === null && process.signalCode === null) {
      const exit = once(process, 'exit');
      process.kill('SIGTERM');
      await exit;
    }
    if (process.signalCode !== 'SIGKILL' && process.exitCode !== 0)
      wrong.push(`${name} exited with ${process.exitCode ?? process.signalCode} after SIGTERM`);
  };
  await Promise.all(pods.map(stop));
  return wrong;
}

/** Kills one without warning; resolves when it is gone. */
export async function kill({ process }: Pod): Promise<void> {
  const exit = once(process, 'exit');
  process.kill('SIGKILL');
  await exit;
}
