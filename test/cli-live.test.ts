import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { stripVTControlCharacters } from 'node:util';
import { afterAll, describe, expect, test } from 'vitest';
import type { Io } from '../src/cli/io.ts';
import { type Frame, frameText } from '../src/cli/live.ts';
import { runCli } from '../src/cli/program.ts';
import { testDatabase } from './support/database.ts';

const database = await testDatabase();
const folder = mkdtempSync(join(tmpdir(), 'lockkeeper-cli-'));
afterAll(() => rmSync(folder, { recursive: true }));

/** A terminal that keeps what was drawn on it, and what was printed above. */
function terminal(env: Record<string, string> = {}) {
  const drawn: string[] = [];
  const kept: string[] = [];
  const seen = Promise.withResolvers<void>();
  const told = Promise.withResolvers<void>();
  const waits: { text: string; resolve: () => void }[] = [];
  let ended = '';
  const io: Io = {
    out: (line) => kept.push(line),
    err: (line) => kept.push(line),
    readStdin: async () => '',
    env: { DATABASE_URL: database.connectionString, ...env },
    terminal: true,
    errTerminal: true,
    stopped: () => told.promise,
    screen: () => ({
      draw: (text) => {
        drawn.push(text);
        for (const wait of waits) if (stripVTControlCharacters(text).includes(wait.text)) wait.resolve();
      },
      keep: (line) => kept.push(line),
      end: (how) => {
        ended = how;
        seen.resolve();
      },
      columns: 100,
      rows: 30,
    }),
  };
  const until = (text: string) => new Promise<void>((resolve) => waits.push({ text, resolve }));
  return { io, drawn, kept, until, stop: () => told.resolve(), ended: () => ended };
}

const at = (msAgo: number) => new Date(1_800_000_000_000 - msAgo);
const frame: Frame = {
  runs: { queued: 3, running: 2, succeeded: 7 },
  keys: [
    { key: 'pool.warehouse', limit: 'pool.warehouse', in_use: 2, capacity: 2 },
    { key: 'pool.api', limit: 'pool.api', in_use: 0, capacity: 0 },
    { key: 'executor{1}', limit: 'executor', in_use: 1, capacity: 4 },
    { key: 'executor{2}', limit: 'executor', in_use: 3, capacity: 4 },
  ],
  waits: [
    {
      job: 'load',
      counts: 'step',
      keys: ['pool.warehouse'],
      many: 3,
      first_run_id: '7',
      since: at(61_000),
      now: at(0),
    },
    {
      job: 'nobody',
      counts: 'run',
      keys: ['workers'],
      many: 1,
      first_run_id: '9',
      since: at(500),
      now: at(0),
    },
  ],
  workers: { live: 1, running: 2, room: 10 },
};
const plainIo = { ...terminal().io, terminal: false };

describe('a frame', () => {
  test('shows limits with bars, runs by state, who waits and for what', () => {
    expect(frameText(plainIo, frame, { columns: 100, rows: 30 })).toBe(
      [
        'lockkeeper dev   3 queued, 2 running, 7 succeeded   ·   1 worker: 2 of 10 steps',
        '',
        'LIMIT               IN USE             WAITING',
        'executor{each run}  ████████░░ 3 of 4        -',
        'pool.api            ░░░░░░░░░░ paused        -',
        'pool.warehouse      ██████████ 2 of 2        3',
        '',
        'WAITS            LONGEST  NEXT  FOR',
        '3 steps of load    1m 1s     7  pool.warehouse',
        '1 run of nobody       0s     9  a worker that serves it',
        '',
        'Ctrl-C ends it · in another terminal: lockkeeper submit JOB, why RUN, runs list',
      ].join('\n'),
    );
  });

  test('is no higher than the terminal: what nobody waits for gives way', () => {
    const keys = Array.from({ length: 40 }, (_, i) => ({
      key: `pool.p${i}`,
      limit: `pool.p${i}`,
      in_use: 1,
      capacity: 2,
    }));
    const text = frameText(plainIo, { ...frame, keys: [...keys, ...frame.keys] }, { columns: 80, rows: 20 });
    expect(text.split('\n').length).toBeLessThanOrEqual(20);
    expect(text).toContain('pool.warehouse');
    expect(text).toMatch(/… and 3\d more/);
  });

  test('is harmless, whatever a job or a key is called', () => {
    const evil = { ...frame, waits: [{ ...(frame.waits[0] as Frame['waits'][0]), job: '\u001b[2Jevil\n' }] };
    expect(frameText(plainIo, evil, { columns: 100, rows: 30 })).toContain('\\u001b[2Jevil\\n');
  });
});

const library = new URL('../src/index.ts', import.meta.url).href;
const jobsFile = (name: string, more = '') => {
  writeFileSync(
    join(folder, name),
    `import { job } from '${library}';
     export const greet = job('greet', { pool: 'post' }, ({ log }) => { log.info('hello from the handler'); });
     ${more}`,
  );
  return join(folder, name);
};

describe('dev on a terminal', () => {
  test('draws, keeps the lines of handlers above, and leaves the last picture', async () => {
    const { io, drawn, kept, until, stop, ended } = terminal();
    const succeeded = until('1 succeeded');
    const file = jobsFile('live.mjs', "export const firstRuns = [{ job: 'greet', key: 'first' }];");
    const running = runCli(['dev', '--jobs', file], io);
    await succeeded;
    stop();
    expect(await running).toBe(0);
    expect(ended()).toBe('leave');
    expect(drawn.some((text) => text.includes('\u001b['))).toBe(true);
    expect(kept.join('\n')).toContain('hello from the handler');
    expect(kept.at(-1)).toContain('stopped');
  });

  test('does not submit the firstRuns again, submits what --submit says, and honours NO_COLOR', async () => {
    const { io, drawn, until, stop } = terminal({ NO_COLOR: '1' });
    const succeeded = until('1 succeeded');
    const file = jobsFile('again.mjs', "export const firstRuns = [{ job: 'greet', key: 'first' }];");
    const running = runCli(['dev', '--jobs', file, '--submit', 'greet'], io);
    await succeeded;
    stop();
    await running;
    expect(drawn.join('')).not.toContain('\u001b[');
    const { rows } = await database.execute('select count(*)::int as runs from lockkeeper.runs', []);
    expect(rows).toEqual([{ runs: 2 }]);
  });

  test.each([
    ["{ job: 'greet' }", 'firstRuns[0] of', 'key: is missing'],
    ["{ job: 'greet', key: 'k', priority: 'x' }", 'firstRuns[0] of', 'priority: "x" is not allowed'],
  ])('firstRuns with %s are refused', async (run, ...parts) => {
    const { io, kept } = terminal();
    const file = jobsFile(`wrong-${parts[1]?.length}.mjs`, `export const firstRuns = [${run}];`);
    expect(await runCli(['dev', '--jobs', file], io)).toBe(1);
    for (const part of parts) expect(kept.join('\n')).toContain(part);
  });
});

test('a bar shows how far a migration is, on a terminal only, and goes away', async () => {
  const { io, drawn, ended } = terminal({ NO_COLOR: '1' });
  expect(await runCli(['migrate', '--again'], io)).toBe(0);
  expect(drawn.length).toBeGreaterThan(10);
  expect(drawn[0]).toMatch(/^migrating {2}░{24} 0 of \d+ {2}pg-boss/);
  expect(drawn.at(-1)).toMatch(/\.sql$/);
  expect(ended()).toBe('clear');
});

test('so it does for a file of many submissions', async () => {
  const { io, drawn, kept } = terminal({ NO_COLOR: '1' });
  const lines = Array.from({ length: 1_500 }, () => '{ "job": "greet" }').join('\n');
  expect(await runCli(['submit', '--file', '-'], { ...io, readStdin: async () => lines })).toBe(0);
  expect(drawn.map((text) => text.trimEnd())).toEqual([
    expect.stringMatching(/^submitting {2}░{24} 0 of 1500/),
    expect.stringMatching(/^submitting {2}█{16}░{8} 1000 of 1500/),
  ]);
  expect(kept.at(-1)).toContain('1500 submitted');
  await database.execute(
    `select count(*) from lockkeeper.cancel(array(select run_id from lockkeeper.runs where state = 'queued'))`,
    [],
  );
});
