/** Rules that can be read off the text of the code. */

import { describe, expect, test } from 'vitest';
import { linesWith, type Source, sources, withoutComments } from './sources.ts';

const code = sources('src/**/*.ts', 'scripts/**/*.{ts,mjs}', 'bench/**/*.ts').map(bare);
const examples = sources('examples/**/*.ts').map(bare);
const tests = sources('test/**/*.ts').filter(({ path }) => path !== 'test/house/code.test.ts');

function bare({ path, text }: Source): Source {
  return { path, text: withoutComments(text) };
}

const find = (files: Source[], pattern: RegExp, except?: RegExp) =>
  files.filter(({ path }) => !except?.test(path)).flatMap((file) => linesWith(file, pattern));

test('there is code to look at', () => {
  expect([code.length > 30, tests.length > 30]).toEqual([true, true]);
});

test('functions write: no insert, update or delete outside sql/', () => {
  const writes =
    /\b(insert\s+into|update\s+["\w.]+(\s+\w+)?\s+set|delete\s+from|merge\s+into|truncate\s+\w)/i;
  expect(find(code, writes)).toEqual([]);
  expect(find(examples, /\b(insert\s+into|update|delete\s+from)\s+lockkeeper/i)).toEqual([]);
});

describe('one file waits', () => {
  const clocks =
    /\b(setTimeout|setInterval|setImmediate|performance\.now|Date\.now|new Date\(\)|hrtime|timers\/promises|pg_sleep)/;

  test('no timer and no clock outside src/wake*.ts', () => {
    // pg-boss wants a clock: this one stands still, and its methods have the names of timers.
    const waits = /^src\/(wake[^/]*|queue\/still-clock)\.ts$/;
    const library = code.filter(({ path }) => path.startsWith('src/'));
    expect(find(library, clocks, waits)).toEqual([]);
  });

  test('tests never sleep; timers that a test moves by hand are no sleep', () => {
    expect(
      find(
        tests,
        /^(?!.*toFake: ).*(?<!clock\.)\b(setTimeout|setInterval|timers\/promises|pg_sleep)\b|\bdelay\(/,
      ),
    ).toEqual([]);
  });
});

test('no `any` in place of a type', () => {
  // `Job<any, any, any>` and the like hold every job; each says so on the line above.
  expect(find([...code, ...examples], /\bas any\b|:\s*any\b|as unknown as any/)).toEqual([]);
});

test('no test is left out or alone', () => {
  expect(find(tests, /\b(test|it|describe)(\.\w+)*\.(only|skip|todo|fails)\b/)).toEqual([]);
});

test('nothing is left to do', () => {
  const all = sources('src/**/*.ts', 'sql/**/*.sql', 'scripts/**/*.{ts,mjs}', 'examples/**/*.ts');
  expect(find(all, /\b(TODO|FIXME|XXX|HACK)\b|not implemented/)).toEqual([]);
});

test('the lock file says what to install, not from where', () => {
  const [lock] = sources('package-lock.json');
  const packages = Object.entries(JSON.parse(lock?.text ?? '{}').packages as Record<string, object>);
  expect(packages.length).toBeGreaterThan(100);
  expect(packages.filter(([, entry]) => 'resolved' in entry).map(([name]) => name)).toEqual([]);
  expect(
    packages.filter(([name, entry]) => name !== '' && !('integrity' in entry || 'link' in entry)),
  ).toEqual([]);
});

describe('files are short', () => {
  const about300 = 320;
  // Read in one sitting all the same: the tables, and the flow of a run in the order in which it happens.
  const longer = /^sql\/tables\/001_[^/]*\.sql$/;
  const files = sources(
    'src/**/*.ts',
    'sql/**/*.sql',
    'scripts/**/*.{ts,mjs}',
    'examples/**/*.ts',
    'test/**/*.ts',
  );

  test('about 300 lines at most', () => {
    const long = files
      .map(({ path, text }) => ({ path, lines: text.split('\n').length - 1 }))
      .filter(({ path, lines }) => lines > about300 && !longer.test(path));
    expect(long).toEqual([]);
  });

  test('the heart is read in one sitting', () => {
    const [heart] = sources('sql/code/30_slots.sql');
    expect(heart?.text.split('\n').length).toBeLessThan(150);
  });
});
