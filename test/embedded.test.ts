import { type ChildProcess, spawn } from 'node:child_process';
import { once } from 'node:events';
import { chmodSync, mkdtempSync, readFileSync, rmSync, statSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, expect, test } from 'vitest';
import { openDatabase } from '../src/database.ts';
import { type EmbeddedOptions, startEmbedded } from '../src/embedded/index.ts';
import { lives, processName, withLock } from '../src/embedded/process.ts';

const parent = mkdtempSync(join(tmpdir(), 'lockkeeper-embedded-'));
chmodSync(parent, 0o755);
const folder = join(parent, 'above/postgres');
const lines: string[] = [];
const folders = new Set<string>();
const start = async (more: EmbeddedOptions = {}) => {
  const embedded = await startEmbedded({ ...options, ...more });
  folders.add(embedded.folder);
  return embedded;
};
const options = { folder, durable: false, log: (line: string) => lines.push(line) };
// A folder that the user postgres could not reach was replaced by another.
afterAll(() => {
  for (const used of [parent, ...folders]) rmSync(used, { recursive: true, force: true });
});

const source = new URL('../src/embedded/index.ts', import.meta.url).href;
const program = `
  const { startEmbedded } = await import(${JSON.stringify(source)});
  await startEmbedded({ folder: ${JSON.stringify(folder)}, durable: false });
  console.log('started');
  process.stdin.resume();`;

/** Another process that uses the server and never says goodbye. */
async function otherUser(): Promise<ChildProcess> {
  const child = spawn(process.execPath, ['--input-type=module', '-e', program], {
    stdio: ['pipe', 'pipe', 'inherit'],
    detached: true,
  });
  await once(child.stdout as NonNullable<typeof child.stdout>, 'data');
  return child;
}

/** Ctrl-C in a terminal reaches the whole process group. */
async function interrupt(child: ChildProcess, signal: NodeJS.Signals): Promise<void> {
  process.kill(-(child.pid ?? 0), signal);
  await once(child, 'exit');
}

async function answers(url: string): Promise<boolean> {
  const database = openDatabase({ connectionString: url, onError: () => {} });
  try {
    return (await database.execute('select 1 as one', [])).rows.length === 1;
  } catch (error) {
    expect(String(error)).toContain('ECONNREFUSED');
    return false;
  } finally {
    await database.close();
  }
}

test('the server outlives the process that started it while another uses it, then stops', async () => {
  const starter = await otherUser();
  const second = await start();
  const third = await start();
  expect(third.url).toBe(second.url);
  await interrupt(starter, 'SIGINT');
  expect(await answers(second.url)).toBe(true);
  await third.close();
  expect(await answers(second.url)).toBe(true);
  await second.close();
  expect(await answers(second.url)).toBe(false);
});

test('a user that was killed holds nothing up', async () => {
  const first = await start();
  const killed = await otherUser();
  await interrupt(killed, 'SIGKILL');
  await first.close();
  expect(await answers(first.url)).toBe(false);
});

test('processes that start at once share one server', async () => {
  const others = await Promise.all([otherUser(), otherUser(), otherUser()]);
  const mine = await start();
  expect(await answers(mine.url)).toBe(true);
  for (const other of others) await interrupt(other, 'SIGKILL');
  await mine.close();
  expect(await answers(mine.url)).toBe(false);
});

test('data that cannot be read any more is thrown away only where it need not be durable', async () => {
  const first = await start();
  await first.close();
  writeFileSync(join(first.folder, 'data/global/pg_control'), 'broken');
  await expect(start({ durable: true })).rejects.toThrow(/does not start: .*control/);
  const again = await start();
  expect(await answers(again.url)).toBe(true);
  await again.close();
});

test('a server that crashed is not taken for the process that has its number now', async () => {
  const first = await start();
  await first.close();
  writeFileSync(join(first.folder, 'data/postmaster.pid'), `${process.pid}\n/data\n0\n1\n\n127.0.0.1\n`);
  writeFileSync(join(first.folder, 'server'), `${process.pid} 1`);
  const again = await start();
  expect(await answers(again.url)).toBe(true);
  await again.close();
});

test('the password is in one file that only we can read, and in no line of the log', async () => {
  const embedded = await start();
  const { password } = new URL(embedded.url);
  const file = join(embedded.folder, 'password');
  expect(password).toHaveLength(32);
  expect(readFileSync(file, 'utf8')).toBe(password);
  expect(statSync(file).mode & 0o777).toBe(0o600);
  expect(statSync(embedded.folder).mode & 0o007).toBe(0);
  expect(lines.join() + readFileSync(join(embedded.folder, 'server.log'), 'utf8')).not.toContain(password);
  await embedded.close();
});

test.runIf(process.getuid?.() === 0)(
  'a folder that the user postgres cannot reach is replaced, and that is told',
  async () => {
    const closed = mkdtempSync(join(tmpdir(), 'lockkeeper-embedded-'));
    const embedded = await start({ folder: join(closed, 'above/postgres') });
    expect(await answers(embedded.url)).toBe(true);
    expect(embedded.folder).not.toContain(closed);
    expect(lines.join()).toContain(
      `cannot reach ${closed}/above; the embedded Postgres lives in ${embedded.folder}`,
    );
    expect(statSync(embedded.folder).mode & 0o007).toBe(0);
    await embedded.close();
    rmSync(closed, { recursive: true });
  },
);

test('a lock is held by one at a time, and not by the dead', async () => {
  const path = join(parent, 'lock');
  writeFileSync(path, '1 somebody who died');
  let inside = 0;
  const enter = () =>
    withLock(path, async () => {
      inside += 1;
      expect(inside).toBe(1);
      await new Promise(setImmediate);
      inside -= 1;
    });
  await Promise.all([enter(), enter(), enter()]);
  expect(lives(processName(process.pid) ?? '')).toBe(true);
});
