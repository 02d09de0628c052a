/** What processes have used of the processors, as Linux tells it in /proc. */

import { execFileSync } from 'node:child_process';
import { readdirSync, readFileSync } from 'node:fs';
import { withClient } from './server.ts';

type Stat = { pid: number; parent: number; ticks: number; ticksOfEnded: number };

/** Seconds of processor time of these processes so far, all their threads included. */
export function cpuSeconds(pids: readonly number[]): number {
  return pids.reduce((sum, pid) => sum + (statOf(pid)?.ticks ?? 0), 0) / ticksPerSecond();
}

/** The same of all processes of the server, also of those that have ended. */
export async function serverCpuSeconds(url: string): Promise<number> {
  const backend = await withClient(url, async (client) => {
    const { rows } = await client.query<{ pid: number }>('select pg_backend_pid() as pid');
    return statOf(rows[0]?.pid ?? 0);
  });
  if (!backend) throw new Error('The processes of the server are not on this machine.');
  const all = allStats().filter(({ pid, parent }) => pid === backend.parent || parent === backend.parent);
  const ended = statOf(backend.parent)?.ticksOfEnded ?? 0;
  return (all.reduce((sum, { ticks }) => sum + ticks, 0) + ended) / ticksPerSecond();
}

const ticksPerSecond = () => Number(execFileSync('getconf', ['CLK_TCK'], { encoding: 'utf8' }));

const allStats = () =>
  readdirSync('/proc')
    .filter((name) => /^\d+$/.test(name))
    .flatMap((name) => statOf(Number(name)) ?? []);

/** Undefined: it has ended. */
function statOf(pid: number): Stat | undefined {
  try {
    // The name in parentheses may hold anything, so fields are counted from its end: proc(5) calls the first one 3.
    const text = readFileSync(`/proc/${pid}/stat`, 'utf8');
    const fields = text.slice(text.lastIndexOf(')') + 2).split(' ');
    const field = (no: number) => Number(fields[no - 3]);
    return { pid, parent: field(4), ticks: field(14) + field(15), ticksOfEnded: field(16) + field(17) };
  } catch {
    return undefined;
  }
}
