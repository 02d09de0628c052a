/** A PgBouncer in transaction mode in front of a server, for the tests and tools that go through one. */

import { execFileSync, spawn } from 'node:child_process';
import { once } from 'node:events';
import { accessSync, chmodSync, chownSync, constants, mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { createServer } from 'node:net';
import { tmpdir } from 'node:os';
import { delimiter, join } from 'node:path';

export type PgBouncer = {
  /** The same database, through the pooler. */
  through(url: string): string;
  close(): Promise<void>;
};

/** The program: this one, or the first that is found in PATH and where systems put such programs. */
export function findPgBouncer(path?: string): string | undefined {
  const folders = [...(process.env.PATH ?? '').split(delimiter), '/usr/sbin', '/usr/local/sbin'];
  const candidates = path ? [path] : folders.filter(Boolean).map((folder) => join(folder, 'pgbouncer'));
  return candidates.find((candidate) => {
    try {
      accessSync(candidate, constants.X_OK);
      return true;
    } catch {
      return false;
    }
  });
}

/**
 * Starts one in front of this server, which all clients then reach as the user of this address. The clients of a
 * database share so many server connections.
 */
export async function startPgBouncer(
  program: string,
  server: string,
  poolSize: number,
  mostClients = 500,
): Promise<PgBouncer> {
  const runAs = process.getuid?.() === 0 ? otherUser() : undefined;
  const folder = mkdtempSync(join(tmpdir(), 'lockkeeper-pgbouncer-'));
  const port = await unusedPort();
  const file = join(folder, 'pgbouncer.ini');
  writeFileSync(file, settings(new URL(server), port, poolSize, mostClients), { mode: 0o600 });
  if (runAs) for (const path of [folder, file]) chownSync(path, runAs.uid, runAs.gid);
  chmodSync(folder, 0o700);
  const child = spawn(program, [file], { stdio: ['ignore', 'ignore', 'pipe'], cwd: '/', ...runAs });
  const close = async () => {
    if (child.exitCode === null && child.signalCode === null) {
      const exited = once(child, 'exit');
      child.kill('SIGKILL'); // A polite end waits for its clients.
      await exited;
    }
    rmSync(folder, { recursive: true, force: true });
  };
  try {
    await isUp(child);
  } catch (error) {
    await close();
    throw error;
  }
  const through = (url: string) => {
    const address = new URL(url);
    address.hostname = '127.0.0.1';
    address.port = String(port);
    return address.href;
  };
  return { through, close };
}

function settings(
  { hostname, port, username, password }: URL,
  listenPort: number,
  poolSize: number,
  mostClients: number,
): string {
  const quoted = (text: string) => `'${decodeURIComponent(text).replaceAll("'", "''")}'`;
  const login = `user=${quoted(username)}${password ? ` password=${quoted(password)}` : ''}`;
  return `[databases]
* = host=${hostname} port=${port || 5432} ${login}

[pgbouncer]
listen_addr = 127.0.0.1
listen_port = ${listenPort}
unix_socket_dir =
auth_type = any
pool_mode = transaction
default_pool_size = ${poolSize}
max_client_conn = ${mostClients}
`;
}

async function isUp(child: ReturnType<typeof spawn>): Promise<void> {
  let said = '';
  const up = new Promise<void>((resolve) => {
    child.stderr?.on('data', (data) => {
      said += data;
      if (said.includes('process up')) resolve();
    });
  });
  const failed = Promise.race([once(child, 'exit'), once(child, 'error')]).then(([reason]) => {
    throw new Error(`PgBouncer does not start (${reason}): ${said.trim().split('\n').slice(-3).join(' / ')}`);
  });
  failed.catch(() => undefined); // It ends after us.
  await Promise.race([up, failed]);
}

/** PgBouncer refuses to run as root. */
function otherUser(): { uid: number; gid: number } {
  for (const name of ['postgres', 'nobody']) {
    try {
      const [uid, gid] = ['-u', '-g'].map((flag) =>
        Number(execFileSync('id', [flag, name], { stdio: ['ignore', 'pipe', 'ignore'] })),
      );
      if (uid && gid) return { uid, gid };
    } catch {
      // There is no such user; the next one.
    }
  }
  throw new Error('PgBouncer refuses to run as root, and there is neither a user postgres nor nobody.');
}

async function unusedPort(): Promise<number> {
  const probe = createServer();
  await new Promise<void>((resolve, reject) => probe.once('error', reject).listen(0, '127.0.0.1', resolve));
  const at = probe.address();
  await new Promise((resolve) => probe.close(resolve));
  if (at === null || typeof at === 'string') throw new Error('No port of loopback is unused.');
  return at.port;
}
