import { mkdirSync, mkdtempSync, readFileSync, readlinkSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, expect, test } from 'vitest';
import { findBinaries, makeLinks } from '../src/embedded/binaries.ts';

const folder = mkdtempSync(join(tmpdir(), 'lockkeeper-binaries-'));
afterAll(() => rmSync(folder, { recursive: true }));

test('the programs of this machine are found', async () => {
  const { initdb, version } = await findBinaries();
  expect(initdb).toContain('initdb');
  expect(version).toMatch(/^18\./);
});

test('links that no install script has made are made, once', () => {
  makeLinks(folder); // A package without a list has none.
  const lib = join(folder, 'native/lib');
  mkdirSync(lib, { recursive: true });
  writeFileSync(join(lib, 'libpq.so.5.18'), 'a library');
  const list = [
    { source: 'native/lib/libpq.so.5.18', target: 'native/lib/libpq.so.5' },
    { source: 'native/lib/libpq.so.5.18', target: 'native/lib/libpq.so' },
  ];
  writeFileSync(join(folder, 'native/pg-symlinks.json'), JSON.stringify(list));
  makeLinks(folder);
  makeLinks(folder);
  expect(readFileSync(join(lib, 'libpq.so.5'), 'utf8')).toBe('a library');
  expect(readlinkSync(join(lib, 'libpq.so'))).toBe('libpq.so.5.18');
});

test('a link that cannot be made is an error with a cure', () => {
  writeFileSync(
    join(folder, 'native/pg-symlinks.json'),
    JSON.stringify([{ source: 'native/none/a.so.1', target: 'native/none/a.so' }]),
  );
  expect(() => makeLinks(folder)).toThrow(
    expect.objectContaining({
      message: expect.stringContaining('a.so'),
      hint: expect.stringContaining('npm rebuild'),
    }),
  );
});
