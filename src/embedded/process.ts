/** Which processes live, and a lock file between them. */

import { linkSync, readFileSync, renameSync, rmSync, writeFileSync } from 'node:fs';
import { delay } from '../wake-delay.ts';

/** Names one process for good: numbers are used again, above all in containers, so the start time goes with it. */
export function processName(pid: number): string | undefined {
  try {
    process.kill(pid, 0);
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code !== 'EPERM') return undefined;
  }
  return `${pid} ${startTime(pid)}`;
}

/** Whether the process of this name still runs. */
export function lives(name: string): boolean {
  const pid = Number.parseInt(name, 10);
  return pid > 0 && processName(pid) === name;
}

/** From Linux's /proc, in clock ticks since boot; elsewhere unknown, and the number alone must do. */
function startTime(pid: number): string {
  try {
    const stat = readFileSync(`/proc/${pid}/stat`, 'utf8');
    return stat.slice(stat.lastIndexOf(')') + 2).split(' ')[19] ?? '';
  } catch {
    return '';
  }
}

/** Runs `work` while holding the lock file; waits for a holder that lives, takes over from one that died. */
export async function withLock<T>(path: string, work: () => Promise<T>): Promise<T> {
  while (!tryLock(path)) await delay(50);
  try {
    return await work();
  } finally {
    rmSync(path, { force: true });
  }
}

/** A link appears with its content at once, so nobody reads a lock without a name in it. */
function tryLock(path: string): boolean {
  const mine = `${path}.${process.pid}`;
  writeFileSync(mine, processName(process.pid) ?? '');
  try {
    linkSync(mine, path);
    return true;
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code !== 'EEXIST') throw error;
    removeIfDead(path, mine);
    return false;
  } finally {
    rmSync(mine, { force: true });
  }
}

/** Moved away before it is judged again, since another process may just have replaced it. */
function removeIfDead(path: string, mine: string): void {
  try {
    if (lives(readFileSync(path, 'utf8'))) return;
    renameSync(path, `${mine}.dead`);
    if (lives(readFileSync(`${mine}.dead`, 'utf8'))) linkSync(`${mine}.dead`, path);
    rmSync(`${mine}.dead`, { force: true });
  } catch (error) {
    if (!['ENOENT', 'EEXIST'].includes((error as NodeJS.ErrnoException).code ?? '')) throw error;
  }
}
