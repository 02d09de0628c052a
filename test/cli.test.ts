import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, afterEach, describe, expect, test } from 'vitest';
import { harmless, json, shownDuration } from '../src/cli/text.ts';
import { createLockkeeper, job } from '../src/index.ts';
import { cliOn } from './support/cli.ts';
import { emptyDatabase, testDatabase } from './support/database.ts';

const database = await testDatabase();
const empty = await emptyDatabase();
const cli = cliOn(database.connectionString);

const folder = mkdtempSync(join(tmpdir(), 'lockkeeper-cli-'));
afterAll(() => rmSync(folder, { recursive: true }));
const file = (name: string, text: string) => {
  writeFileSync(join(folder, name), text);
  return join(folder, name);
};

const silent = { debug() {}, info() {}, warn() {}, error() {} };
/** A step that runs until it is let go. */
let letGo = () => {};
let started = () => {};
const hold = job('hold', { pool: 'warehouse' }, () => {
  started();
  return new Promise<string>((resolve) => {
    letGo = () => resolve('done');
  });
});
const lockkeeper = await createLockkeeper({
  connectionString: database.connectionString,
  jobs: [hold, job('ping', () => 'pong')],
  log: silent,
});
await lockkeeper.register();
afterAll(async () => {
  letGo();
  await lockkeeper.close();
});
afterEach(() => database.execute("select lockkeeper.apply_limits('[]')", []));

const warehouseOf = (capacity: number) =>
  file('lockkeeper.yaml', `concurrency: { pools: { limits: { warehouse: ${capacity} } } }\n`);
const submitted = async (...args: string[]) => {
  const { json } = await cli(['submit', ...args, '--json']);
  const [run] = json.runs as [{ run_id: string }];
  return run.run_id;
};

describe('a database', () => {
  test('is migrated, and then there is nothing to do', async () => {
    const onEmpty = cliOn(empty.connectionString);
    const before = await onEmpty(['runs', 'list']);
    expect(before).toMatchObject({ code: 1, err: expect.stringContaining('lockkeeper migrate') });
    const dry = await onEmpty(['migrate', '--dry-run', '--json']);
    expect(dry.json).toMatchObject({ from: 0, changed: true, dry_run: true });
    expect((await onEmpty(['migrate'])).out).toContain('Migrated from schema version 0 to');
    expect((await onEmpty(['migrate', '--json'])).json).toMatchObject({ changed: false, applied: [] });
    expect(await onEmpty(['runs', 'list'])).toMatchObject({ code: 0, out: 'No run.' });
  });

  test('must be named, and how is said', async () => {
    const said = await cliOn(undefined)(['runs', 'list']);
    expect(said).toMatchObject({ code: 1, out: '' });
    expect(said.err).toContain(
      'lockkeeper: There is no database: set DATABASE_URL, or run `lockkeeper dev`.',
    );
    expect(
      await cliOn(undefined)(['limits', 'list', '--database-url', database.connectionString]),
    ).toMatchObject({
      code: 0,
    });
  });

  test('that cannot be reached is no mystery, and the password is not told', async () => {
    const said = await cliOn('postgres://me:secret@127.0.0.1:1/none')(['runs', 'list']);
    expect(said).toMatchObject({ code: 1, err: expect.stringContaining('cannot be reached') });
    expect(said.err).not.toContain('secret');
    const wrong = await cliOn('localhost:5432')(['runs', 'list']);
    expect(wrong).toMatchObject({ code: 1, err: expect.stringContaining('hint: Write postgres://') });
  });
});

describe('limits', () => {
  test('a file is applied, and listed', async () => {
    const { json } = await cli(['limits', 'apply', warehouseOf(5), '--json']);
    expect(json).toMatchObject({ changes: [{ name: 'pool.warehouse', change: 'added' }] });
    expect((await cli(['limits', 'apply', warehouseOf(2)])).out).toContain('changed');
    const listed = (await cli(['limits', 'list', '--json'])).json;
    expect(listed.limits).toContainEqual(
      expect.objectContaining({ name: 'pool.warehouse', counts: 'step', capacity: 2 }),
    );
    expect((await cli(['limits', 'list'])).out).toMatch(/pool\.warehouse +steps +pool=warehouse +- +2/);
  });

  test('a bad file names the field, and changes nothing', async () => {
    const bad = 'concurrency: { pools: { limits: { warehouse: -7 } } }';
    const said = await cli(['limits', 'apply', file('bad.yaml', bad)]);
    expect(said).toMatchObject({ code: 1, out: '' });
    expect(said.err).toMatch(/^lockkeeper: .*concurrency\.pools\.limits\.warehouse: -7 is not allowed/);
    expect((await cli(['limits', 'apply', '-'], 'a: [')).err).toContain('line 1');
    const none = await cli(['limits', 'apply', join(folder, 'none.yaml')]);
    expect(none).toMatchObject({ code: 1, err: expect.stringContaining('there is no such file') });
  });
});

describe('runs', () => {
  test('submit, list, show, cancel', async () => {
    const id = await submitted('ping', '--tag', 'customer=a=b', '--tag', 'size=big', '--priority', '-3');
    const { runs, more } = (await cli(['runs', 'list', '--job', 'ping', '--state', 'queued', '--json'])).json;
    expect(more).toBe(false);
    expect(runs).toMatchObject([
      { run_id: id, job: 'ping', tags: { customer: 'a=b', size: 'big' }, priority: -3, steps_left: 1 },
    ]);
    expect((await cli(['runs', 'show', id])).out).toMatch(/state +queued/);
    expect((await cli(['runs', 'show', id, '--json'])).json).toMatchObject({
      run: { run_id: id },
      steps: [{ place: 1, step: 'run', state: 'pending' }],
    });
    expect(await cli(['runs', 'cancel', id])).toMatchObject({ code: 0, out: `Run ${id} is canceled.` });
    expect((await cli(['runs', 'list', '--limit', '1'])).out).toContain('canceled');
  });

  test('a run that is not there is an error', async () => {
    expect(await cli(['runs', 'show', '999999'])).toMatchObject({
      code: 1,
      err: expect.stringContaining('There is no run 999999.'),
    });
    const said = await cli(['runs', 'cancel', '999999', '--json']);
    expect(said).toMatchObject({ code: 1, json: { runs: [{ run_id: '999999', state: 'unknown' }] } });
  });

  test('a file of submissions: all or none, and a wrong one is named', async () => {
    const good = [{ job: 'ping', key: 'once' }, { job: 'ping' }];
    const said = await cli(['submit', '--file', file('good.json', JSON.stringify(good)), '--json']);
    expect(said.json.runs).toMatchObject([{ created: true }, { created: true }]);
    const again = await cli(['submit', 'ping', '--key', 'once', '--json']);
    expect(again.json.runs).toMatchObject([{ created: false }]);
    const bad = await cli(
      ['submit', '--file', '-'],
      JSON.stringify([...good, { job: 'ping', priority: 'x' }]),
    );
    expect(bad).toMatchObject({ code: 1, err: expect.stringMatching(/Submission 3 of -: priority: "x"/) });
    const ids = (said.json.runs as { run_id: string }[]).map((run) => run.run_id);
    expect((await cli(['runs', 'cancel', ...ids])).code).toBe(0);
  });

  test('unknown jobs and deployments are refused; deployments can be added', async () => {
    expect((await cli(['submit', 'nothing'])).err).toContain('"nothing" is not registered');
    expect((await cli(['submit', 'ping', '--deployment', 'pr-1'])).err).toContain('deployments add');
    expect((await cli(['deployments', 'add', 'pr-1', '--kind', 'branch'])).code).toBe(0);
    expect((await cli(['deployments', 'add', 'pr-1', '--kind', 'full'])).code).toBe(1);
    expect((await cli(['deployments', 'list', '--json'])).json.deployments).toMatchObject([
      { deployment: 'default', kind: 'full' },
      { deployment: 'pr-1', kind: 'branch' },
    ]);
    await cli(['runs', 'cancel', await submitted('ping', '--deployment', 'pr-1')]);
  });
});

describe('why', () => {
  test('says which key is full, who holds it, and what would free it', async () => {
    await cli(['limits', 'apply', warehouseOf(1)]);
    const running = new Promise<void>((resolve) => {
      started = resolve;
    });
    const work = await lockkeeper.work({ name: 'w1' });
    const first = await submitted('hold');
    await running;
    const second = await submitted('hold', '--tag', 'customer=acme');
    const { out } = await cli(['why', second]);
    expect(out).toContain(`Run ${second} is queued.`);
    expect(out).toContain('pool.warehouse 1 of 1');
    expect(out).toContain(`run ${first}.run (hold) on w1 since `);
    expect((await cli(['why', `${second}.run`])).out).toContain('since its run is queued');
    expect((await cli(['why', second, '--json'])).json).toMatchObject({
      run_id: second,
      state: 'queued',
      waiting: [
        {
          key: 'pool.warehouse',
          in_use: 1,
          capacity: 1,
          holders: [{ run_id: first, step: 'run', worker: 'w1' }],
        },
      ],
    });
    expect((await cli(['why', first])).out).toBe(`Run ${first} is running: nothing of it waits.`);
    expect((await cli(['limits', 'list', '--json'])).json.keys).toMatchObject([
      { key: 'pool.warehouse', in_use: 1 },
    ]);
    await cli(['runs', 'cancel', second]);
    letGo();
    await work.stop();
  });

  test('a paused pool, an unknown step', async () => {
    await cli(['limits', 'apply', warehouseOf(0)]);
    const id = await submitted('hold');
    expect((await cli(['why', id, '--json'])).json.waiting).toMatchObject(
      expect.arrayContaining([expect.objectContaining({ key: 'workers' })]),
    );
    expect((await cli(['why', id, 'copy'])).err).toMatch(/no step "copy"\.\nhint: Its steps are run\./);
    expect((await cli(['why', '999999'])).code).toBe(1);
    await cli(['runs', 'cancel', id]);
  });
});

describe('usage', () => {
  test.each([
    [['runs'], 'Usage: lockkeeper runs'],
    [['nothing'], "unknown command 'nothing'"],
    [['runs', 'list', '--stat', 'queued'], 'Did you mean --state?'],
    [['runs', 'list', '--state', 'waiting'], 'Allowed choices are queued'],
    [['runs', 'list', '--limit', '0'], 'integers from 1'],
    [['runs', 'show', 'x1'], 'the number of a run'],
    [['submit'], 'missing argument'],
    [['submit', 'ping', '--file', 'runs.json'], 'with --file'],
    [['submit', 'ping', '--input', '{'], 'no JSON'],
    [['submit', 'ping', '--tag', 'customer'], 'KEY=VALUE'],
    [['deployments', 'add', 'pr-2'], '--kind'],
    [['why', '1.a', 'b'], 'named twice'],
    [['worker', '--room', 'many'], 'integers from 1'],
  ])('%j is wrong', async (args, text) => {
    const said = await cli(args);
    expect(said).toMatchObject({ code: 2, out: '' });
    expect(said.err).toContain(text);
  });

  test('every command has help with an example and its JSON', async () => {
    const commands = ['dev', 'migrate', 'worker', 'coordinator', 'submit', 'why', 'runs list', 'runs show'];
    for (const command of [...commands, 'runs cancel', 'limits list', 'limits apply', 'deployments add']) {
      const said = await cli([...command.split(' '), '--help']);
      expect(said.code).toBe(0);
      expect(said.out).toMatch(new RegExp(`Examples?:\n  lockkeeper ${command}[^]*With --json:`));
    }
  });

  test('a LOG_LEVEL that does not exist is named', async () => {
    const said = await cliOn(database.connectionString, { LOG_LEVEL: 'loud' })(['runs', 'list']);
    expect(said).toMatchObject({ code: 1, err: expect.stringContaining('LOG_LEVEL is "loud"') });
  });
});

describe('what others wrote', () => {
  const evil = '\u001b[31mred\u009b5m\u202eback\nline';
  test('reaches no terminal as it is', async () => {
    const id = await submitted('ping', '--tag', `customer=${evil}`, '--key', evil);
    for (const args of [
      ['runs', 'list'],
      ['runs', 'show', id],
      ['runs', 'list', '--json'],
    ]) {
      const { out } = await cli(args);
      // biome-ignore lint/suspicious/noControlCharactersInRegex: none of them may be there
      expect(out).not.toMatch(/[\u0000-\u0009\u000b-\u001f\u007f-\u009f\u202e]/);
      expect(out).toContain('\\u001b[31mred\\u009b5m\\u202eback\\nline');
    }
    const { runs } = (await cli(['runs', 'list', '--limit', '1', '--json'])).json;
    expect(runs).toMatchObject([{ key: evil, tags: { customer: evil } }]);
    expect((await cli(['submit', evil])).err).not.toContain('\u001b');
    await cli(['runs', 'cancel', id]);
  });

  test('is shown as escapes, one line', () => {
    expect(harmless('a\u0007\tb\r\nc')).toBe('a\\u0007\\u0009b\\u000d\\nc');
    expect(JSON.parse(json({ evil }))).toEqual({ evil });
    expect(shownDuration(3_725_000)).toBe('1h 2m');
  });
});
