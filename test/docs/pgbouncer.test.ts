/** docs/production.md, "PgBouncer": everything works in transaction mode. Only where there is a pgbouncer. */

import { type ChildProcess, spawn, spawnSync } from 'node:child_process';
import { once } from 'node:events';
import { chmodSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { createServer } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, expect, inject, test } from 'vitest';
import { openDatabase } from '../../src/database.ts';
import { job } from '../../src/jobs.ts';
import { createLockkeeper } from '../../src/lockkeeper.ts';
import { migrateDatabase } from '../../src/migrate/database.ts';
import { keepingLog } from '../support/log.ts';
import { cloneTemplate } from '../support/template.ts';
import { blockNamed } from './blocks.ts';

const env = { ...process.env, PATH: `${process.env.PATH}:/usr/sbin` };
const isThere = spawnSync('pgbouncer', ['--version'], { env }).status === 0;
const folder = mkdtempSync(join(tmpdir(), 'lockkeeper-pgbouncer-'));
chmodSync(folder, 0o755);
const started: ChildProcess[] = [];
afterAll(async () => {
  for (const child of started) {
    child.kill('SIGTERM');
    await once(child, 'exit');
  }
  rmSync(folder, { recursive: true, force: true });
});

async function unusedPort(): Promise<number> {
  const server = createServer();
  await once(server.listen(0, '127.0.0.1'), 'listening');
  const address = server.address();
  server.close();
  await once(server, 'close');
  return typeof address === 'object' && address ? address.port : 0;
}

/** The page's settings before this server; answers the address through which its clients come. */
async function startPgBouncer(url: string): Promise<string> {
  const server = new URL(url);
  const port = await unusedPort();
  const password = server.password === '' ? '' : ` password='${decodeURIComponent(server.password)}'`;
  const target = `host=${server.hostname} port=${server.port || 5432} user=${server.username}${password}`;
  const file = join(folder, 'pgbouncer.ini');
  const own = `auth_type = any\nlisten_addr = 127.0.0.1\nlisten_port = ${port}\nunix_socket_dir =\n`;
  writeFileSync(
    file,
    `[databases]\n* = ${target}\n${blockNamed('docs/production.md', 'pgbouncer').replace('[pgbouncer]', `[pgbouncer]\n${own}`)}\n`,
  );
  const user = process.getuid?.() === 0 ? ['-u', 'nobody'] : [];
  const child = spawn('pgbouncer', [...user, file], { env, stdio: ['ignore', 'ignore', 'pipe'] });
  started.push(child);
  await new Promise<void>((resolve, reject) => {
    let said = '';
    child.stderr.on('data', (chunk) => {
      said += chunk;
      if (said.includes('process up')) resolve();
    });
    child.once('exit', () => reject(new Error(said)));
  });
  const through = new URL(url);
  through.host = `127.0.0.1:${port}`;
  through.username = 'anybody';
  through.password = '';
  return through.href;
}

test.skipIf(!isThere)('everything works through PgBouncer in transaction mode', async () => {
  const clone = await cloneTemplate(inject('template'), true);
  const connectionString = await startPgBouncer(clone.url);
  const direct = openDatabase({ connectionString: clone.url, max: 1 });
  const log = keepingLog();
  const load = job('load')
    .step('extract', { pool: 'warehouse' }, async () => 1)
    .step('copy', { after: ['extract'] }, async ({ outputs }) => outputs.extract + 1);
  try {
    await migrateDatabase({ connectionString });
    const lockkeeper = await createLockkeeper({ connectionString, jobs: [load], log });
    await lockkeeper.applyConfig({ concurrency: { pools: { default_limit: 2 } } });
    await lockkeeper.work();
    const submitted = await lockkeeper.submitMany(Array.from({ length: 20 }, () => ({ job: 'load' })));
    for (const { runId } of submitted) {
      expect(await lockkeeper.result(runId)).toMatchObject({ state: 'succeeded', outputs: { copy: 2 } });
    }
    const { rows } = await direct.execute(
      `select count(*) as connections from pg_stat_activity where datname = current_database() and pid <> pg_backend_pid()`,
      [],
    );
    // Ten and two on the side of the clients; on the server's no more than the pool of the page.
    expect(Number(rows[0]?.connections)).toBeLessThanOrEqual(5);
    await lockkeeper.close();
    expect((await direct.execute('select * from lockkeeper.violations', [])).rows).toEqual([]);
    expect(log.lines.filter(({ level }) => level === 'error' || level === 'warn')).toEqual([]);
  } finally {
    await direct.close();
    await clone.drop();
  }
});
