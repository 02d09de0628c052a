/** docs/production.md, "Upgrades": workers that are at work go on while the functions under them are replaced. */

import { cp, mkdtemp, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, expect, test } from 'vitest';
import { job } from '../../src/jobs.ts';
import { createLockkeeper } from '../../src/lockkeeper.ts';
import { migrate, sqlFolder } from '../../src/migrate.ts';
import { queueSchema } from '../../src/queue/boss.ts';
import { testDatabase } from '../support/database.ts';
import { keepingLog } from '../support/log.ts';

const database = await testDatabase();
const folder = await mkdtemp(join(tmpdir(), 'lockkeeper-upgrade-'));
afterAll(() => rm(folder, { recursive: true, force: true }));

test('a step that runs during a migration is finished, and its worker goes on', async () => {
  const started = Promise.withResolvers<void>();
  const ending = Promise.withResolvers<void>();
  const slow = job('slow', async () => {
    started.resolve();
    await ending.promise;
    return 'done';
  });
  const log = keepingLog();
  const { connectionString } = database;
  const lockkeeper = await createLockkeeper({ connectionString, jobs: [slow], log });
  try {
    await lockkeeper.work();
    const before = await lockkeeper.submit(slow);
    await started.promise;

    await cp(sqlFolder, folder, { recursive: true });
    await writeFile(join(folder, 'code/99_next.sql'), 'create view lockkeeper.next as select 1 as one;');
    const migrated = await migrate(database, { folder, alsoMigrate: [queueSchema(database)] });
    expect(migrated.changed).toBe(true);

    ending.resolve();
    expect(await lockkeeper.result(before.runId)).toMatchObject({
      state: 'succeeded',
      outputs: { run: 'done' },
    });
    expect(await lockkeeper.run(slow)).toMatchObject({ state: 'succeeded' });
    const { rows } = await database.execute('select max(attempts) as attempts from lockkeeper.steps', []);
    expect(Number(rows[0]?.attempts)).toBe(1);
    expect(log.lines.filter(({ level }) => level === 'error' || level === 'warn')).toEqual([]);
  } finally {
    await lockkeeper.close();
  }
});
