/** The commands for limits: from a file, and while things run. */

import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, afterEach, describe, expect, test } from 'vitest';
import { cliOn } from './support/cli.ts';
import { claimAll, openStage } from './support/stage.ts';

const stage = await openStage();
const cli = cliOn(stage.database.connectionString, { USER: 'ana' });
await stage.rows("select lockkeeper.stop_clock('2026-01-31T06:00:00Z')");
const load = await stage.register('load', { copy: { pool: 'warehouse' } });
await stage.rows('select lockkeeper.register($1)', [
  JSON.stringify({
    job: 'report',
    version: '1',
    steps: [{ name: 'draw', pools: {} }],
    limits: [
      { name: 'executor@report', counts: 'step', match: { job: 'report' }, per: ['run'], capacity: 3 },
    ],
  }),
]);

const folder = mkdtempSync(join(tmpdir(), 'lockkeeper-limits-'));
afterAll(() => rmSync(folder, { recursive: true }));
const file = (text: string) => {
  writeFileSync(join(folder, 'limits.yaml'), text);
  return join(folder, 'limits.yaml');
};
const pools = (limits: string) => `concurrency: { pools: { limits: { ${limits} } } }\n`;
const warehouse = (capacity: number) => file(pools(`warehouse: ${capacity}`));
const theLimit = async (name: string) =>
  ((await cli(['limits', 'list', name, '--json'])).json.limits as Record<string, unknown>[])[0];
const isDone = { code: 0, err: '' };

afterEach(async () => {
  for (const { name, source, override } of await stage.rows('select * from lockkeeper.limits')) {
    if (source === 'user') await stage.rows('select lockkeeper.drop_limit($1)', [name]);
    else if (override !== null) await stage.rows('select lockkeeper.unset_override($1)', [name]);
  }
});

describe('plan and apply', () => {
  test('a plan says what is added, removed and changed, field by field, and changes nothing', async () => {
    await cli(['limits', 'apply', file(`${pools('warehouse: 3, files: 1')}retention_days: 10\n`)]);
    const next = file(`${pools('warehouse: 5, api: 2')}retention_days: null\n`);
    const { out, code } = await cli(['limits', 'plan', next]);
    expect(code).toBe(0);
    expect(out).toMatch(/\+ added +pool\.api +capacity 2: steps of pool=api\n/);
    expect(out).toMatch(/- removed +pool\.files +capacity 1: steps of pool=files\n/);
    expect(out).toMatch(/~ changed +pool\.warehouse +capacity 3 → 5\n/);
    expect(out).toMatch(/~ changed +retention_days +10 → for ever\n/);
    expect(out).toContain('What waits is laned again.');
    expect(out).toMatch(
      /Not from the file, and left alone:\nLIMIT +SOURCE +CAPACITY\nexecutor@report +job report +3$/,
    );
    expect(await theLimit('pool.warehouse')).toMatchObject({ capacity: 3 });

    const applied = await cli(['limits', 'apply', next, '--json']);
    expect(applied.json).toMatchObject({
      lanes_again: true,
      changes: expect.arrayContaining([
        {
          name: 'pool.files',
          change: 'removed',
          was: expect.objectContaining({ capacity: 1 }),
          becomes: null,
          lanes_again: true,
        },
        { name: 'retention_days', change: 'changed', was: 10, becomes: null, lanes_again: false },
      ]),
      others: [{ name: 'executor@report', source: 'job report' }],
    });
    expect(applied.json).not.toHaveProperty('drift');
    expect((await cli(['limits', 'apply', next])).out).toMatch(/^Applied; no limit changed\.\n/);
  });

  test.each([
    ['another capacity', '{ warehouse: 5 }', false],
    ['unlimited', '{ warehouse: null }', true],
    ['another grouping', '{ warehouse: { limit: 3, scope: deployment } }', true],
  ])('what waits is laned again only if it must be: %s', async (_, limits, lanesAgain) => {
    await cli(['limits', 'apply', warehouse(3)]);
    const { json, code } = await cli(
      ['limits', 'plan', '-', '--json'],
      `concurrency: { pools: { limits: ${limits} } }`,
    );
    expect(code).toBe(0);
    expect(json).toMatchObject({
      drift: true,
      lanes_again: lanesAgain,
      changes: [{ name: 'pool.warehouse' }],
    });
    const stamp = async () => (await stage.rows('select stamp from lockkeeper_data.configuration'))[0]?.stamp;
    const before = await stamp();
    await cli(['limits', 'apply', '-'], `concurrency: { pools: { limits: ${limits} } }`);
    expect((await stamp()) !== before).toBe(lanesAgain);
  });

  test('--check ends with 2 if there is drift, else with 0, and changes nothing', async () => {
    await cli(['limits', 'apply', warehouse(3)]);
    for (const command of ['plan', 'apply']) {
      const drift = await cli(['limits', command, warehouse(5), '--check']);
      expect(drift).toMatchObject({ code: 2, err: '', out: expect.stringContaining('capacity 3 → 5') });
      const json = await cli(['limits', command, warehouse(5), '--check', '--json']);
      expect(json).toMatchObject({ code: 2, json: { drift: true } });
      const none = await cli(['limits', command, warehouse(3), '--check']);
      expect(none).toMatchObject({
        ...isDone,
        out: expect.stringMatching(/^No drift: .*limits\.yaml says\.\n/),
      });
      expect((await cli(['limits', command, file('concurency: {}'), '--check'])).code).toBe(1);
    }
    expect(await theLimit('pool.warehouse')).toMatchObject({ capacity: 3 });
  });

  test('overrides are told, are no drift, and end only with their limit', async () => {
    await cli(['limits', 'apply', warehouse(3)]);
    await cli(['limits', 'set', 'pool.warehouse', '1', '--why', 'slow']);
    const same = await cli(['limits', 'apply', warehouse(3), '--check']);
    expect(same.code).toBe(0);
    expect(same.out).toMatch(
      /Overrides in force:\nLIMIT.*\npool\.warehouse +1 +3 +ana +- +slow +as it was\n/,
    );
    expect((await cli(['limits', 'plan', warehouse(5)])).out).toContain('changed; the override stays');
    await cli(['limits', 'apply', warehouse(5)]);
    expect(await theLimit('pool.warehouse')).toMatchObject({ capacity: 1, configured: 5, override: 1 });
    // It is limited before and after, so that nothing is laned again.
    const unlimited = await cli(['limits', 'plan', '-', '--json'], pools('warehouse: null'));
    expect(unlimited.json).toMatchObject({ lanes_again: false, overrides: [{ planned: 'changed' }] });
    const gone = await cli(['limits', 'apply', file('{}')]);
    expect(gone.out).toContain('removed, with the override');
    await cli(['limits', 'apply', warehouse(5)]);
    expect(await theLimit('pool.warehouse')).toMatchObject({ capacity: 5, override: null });
  });
});

describe('overrides', () => {
  test('set, unset: who, why and until when is told', async () => {
    await cli(['limits', 'apply', warehouse(5)]);
    const set = ['limits', 'set', 'pool.warehouse', '2', '--why', 'it is slow', '--by', 'eva'];
    expect(await cli([...set, '--for', '1d2h'])).toMatchObject({
      ...isDone,
      out: 'pool.warehouse counts with capacity 2 instead of 5, until 2026-02-01 08:00:00Z (eva: it is slow).',
    });
    expect((await cli(['limits', 'list'])).out).toMatch(
      /CAPACITY +OVERRIDE +SOURCE +BY +UNTIL +WHY\n[\s\S]*pool\.warehouse +steps +pool=warehouse +- +5 +2 +configuration +eva +2026-02-01 08:00:00Z +it is slow/,
    );
    expect((await cli([...set, '--until', '2026-01-31T09:00:00+02:00', '--json'])).json).toMatchObject({
      changed: true,
      limit: {
        name: 'pool.warehouse',
        capacity: 2,
        configured: 5,
        override: 2,
        override_by: 'eva',
        override_why: 'it is slow',
        override_at: '2026-01-31T06:00:00.000Z',
        override_until: '2026-01-31T07:00:00.000Z',
      },
    });
    const unset = ['limits', 'unset', 'pool.warehouse'];
    expect((await cli(unset)).out).toBe('pool.warehouse counts with its own capacity again: 5.');
    expect(await cli(unset)).toMatchObject({
      ...isDone,
      out: 'pool.warehouse had no override; its capacity is 5.',
    });
    expect((await cli([...unset, '--json'])).json).toMatchObject({ changed: false, limit: { capacity: 5 } });
  });

  test('pause and resume; what is not paused is not resumed', async () => {
    await cli(['limits', 'apply', warehouse(5)]);
    const resume = ['limits', 'resume', 'pool.warehouse'];
    expect(await cli(resume)).toMatchObject({ code: 1, err: expect.stringContaining('is not paused') });
    const { out } = await cli(['limits', 'pause', 'pool.warehouse', '--why', 'no disk']);
    expect(out).toBe('pool.warehouse is paused: its capacity is 0 instead of 5 (ana: no disk).');
    expect((await cli(['limits', 'list'])).out).toMatch(
      /pool\.warehouse .* 5 +0 \(paused\) +configuration +ana/,
    );
    expect((await cli([...resume, '--json'])).json).toMatchObject({ changed: true, limit: { capacity: 5 } });
    await cli(['limits', 'set', 'pool.warehouse', '2', '--why', 'slow']);
    const other = await cli(resume);
    expect(other).toMatchObject({
      code: 1,
      err: expect.stringMatching(/gives it capacity 2\.\nhint: .*unset/),
    });
    await cli(['limits', 'unset', 'pool.warehouse']);
    await cli(['limits', 'apply', warehouse(0)]);
    expect((await cli(resume)).err).toContain('its own capacity is 0');
    expect((await cli(['limits', 'list'])).out).toMatch(/pool\.warehouse .* 0 \(paused\)/);
  });

  test('it ends by itself when its time is over', async () => {
    await cli(['limits', 'apply', warehouse(1)]);
    await cli(['limits', 'pause', 'pool.warehouse', '--why', 'no disk', '--for', '30m']);
    const lease = await stage.serve(load);
    const [run] = (await stage.submit(load)) as [string];
    await stage.tick();
    expect(await claimAll(lease)).toEqual([]);
    const why = await cli(['why', run]);
    expect(why.out).toMatch(/pool\.warehouse is paused[\s\S]*ana[\s\S]*: no disk[\s\S]*2026-01-31 06:30/);
    await lease.close();
    await stage.rows('select lockkeeper.advance_clock(1800)');
    const next = await stage.serve(load);
    await stage.tick();
    expect(await theLimit('pool.warehouse')).toMatchObject({
      capacity: 1,
      override: null,
      override_by: null,
    });
    expect(await claimAll(next)).toMatchObject([{ runId: run }]);
  });

  test('one set by SQL is the same one', async () => {
    await cli(['limits', 'apply', warehouse(5)]);
    await stage.rows("select lockkeeper.override_limit('pool.warehouse', 0, 'otto', 'from SQL')");
    expect((await cli(['limits', 'list'])).out).toMatch(
      /pool\.warehouse .* 0 \(paused\) .* otto +- +from SQL/,
    );
    expect((await cli(['limits', 'resume', 'pool.warehouse'])).code).toBe(0);
    await cli(['limits', 'set', 'pool.warehouse', '7', '--why', 'x', '--for', '1h']);
    await stage.rows('select lockkeeper.advance_clock(3600)');
    expect(await stage.rows('select lockkeeper.end_overrides() as names')).toEqual([
      { names: ['pool.warehouse'] },
    ]);
    expect(await theLimit('pool.warehouse')).toMatchObject({ capacity: 5, override: null });
  });
});

describe('one limit', () => {
  test('its facts, its keys and who holds it', async () => {
    await cli(['limits', 'apply', file('concurrency: { pools: { default_limit: 1 } }')]);
    expect((await cli(['limits', 'list', 'pool.*'])).out).toMatch(
      /per +pool\n[\s\S]*No key of it is in use\.$/,
    );
    const lease = await stage.serve(load);
    const [run] = (await stage.submit(load)) as [string];
    await stage.tick();
    await claimAll(lease);
    const { out } = await cli(['limits', 'list', 'pool.*']);
    expect(out).toMatch(/capacity +1\n/);
    expect(out).toMatch(/pool\.\*\{warehouse\} +1 of 1/);
    expect(out).toMatch(new RegExp(`${run} +load +copy +pool\\.\\*\\{warehouse\\} +1 +2026-01-31 .* w$`));
    expect((await cli(['limits', 'list', 'pool.*', '--json'])).json).toMatchObject({
      limits: [{ name: 'pool.*', per: ['pool'] }],
      keys: [{ key: 'pool.*{warehouse}', in_use: 1 }],
      holders: [{ run_id: run, job: 'load', step: 'copy', amount: 1, worker: 'w' }],
    });
    expect((await cli(['limits', 'list', '--json'])).json).not.toHaveProperty('holders');
  });
});

describe('refused', () => {
  const why = ['--why', 'x'];
  test.each([
    [1, ['set', 'pool.warehose', '1', ...why], 'Did you mean pool.warehouse?'],
    [1, ['pause', 'executor@run', ...why], 'there is no limit called "executor@run"'],
    [1, ['unset', 'nothing'], 'There is no limit called "nothing"'],
    [1, ['list', 'pool.warehose'], 'Did you mean pool.warehouse?'],
    [1, ['resume', 'nothing'], 'There is no limit called "nothing"'],
    [1, ['set', 'pool.warehouse', '1', ...why, '--until', '2026-01-31T06:00:00Z'], 'which is over'],
    [2, ['set', 'pool.warehouse', '1'], '--why'],
    [2, ['pause', 'pool.warehouse', '--why', ' '], 'must not be empty'],
    [2, ['set', 'pool.warehouse', '-1', ...why], ''],
    [2, ['set', 'pool.warehouse', 'many', ...why], 'integers from 0'],
    [2, ['set', 'pool.warehouse', '1', ...why, '--for', '0m'], 'such as 90s, 30m'],
    [2, ['set', 'pool.warehouse', '1', ...why, '--for', '2 days'], 'such as 90s, 30m'],
    [2, ['set', 'pool.warehouse', '1', ...why, '--until', '2026-02-01T06:00'], 'with its zone'],
    [
      2,
      ['set', 'pool.warehouse', '1', ...why, '--for', '2h', '--until', '2026-02-01T06:00:00Z'],
      'cannot be used',
    ],
  ])('%i: limits %j', async (code, args, text) => {
    await cli(['limits', 'apply', warehouse(5)]);
    const said = await cli(['limits', ...args]);
    expect(said).toMatchObject({ code, out: '' });
    expect(said.err).toContain(text);
    expect(await theLimit('pool.warehouse')).toMatchObject({ capacity: 5, override: null });
  });

  test('without a name of a user --by must say who', async () => {
    const nobody = cliOn(stage.database.connectionString);
    await cli(['limits', 'apply', warehouse(5)]);
    const said = await nobody(['limits', 'pause', 'pool.warehouse', ...why]);
    expect(said).toMatchObject({ code: 2, err: expect.stringContaining('--by NAME') });
    expect((await nobody(['limits', 'pause', 'pool.warehouse', ...why, '--by', 'eva'])).code).toBe(0);
  });

  test('no control character of a reason or a name reaches the terminal', async () => {
    await cli(['limits', 'apply', warehouse(5)]);
    const evil = '\u001b[31mred\u202eback\nline';
    const said = await cli(['limits', 'pause', 'pool.warehouse', '--why', evil, '--by', evil]);
    const own = { name: evil, counts: 'run', match: { job: evil }, capacity: 1 };
    const added = await cli(['limits', 'add', '-'], JSON.stringify(own));
    const listed = await cli(['limits', 'list']);
    const planned = await cli(['limits', 'plan', file('{}')]);
    const one = await cli(['limits', 'list', evil]);
    const wrong = await cli(['limits', 'resume', evil]);
    const unset = await cli(['limits', 'unset', evil]);
    for (const { out, err } of [said, added, listed, planned, one, wrong, unset]) {
      // biome-ignore lint/suspicious/noControlCharactersInRegex: none of them may be there
      expect(`${out}${err}`).not.toMatch(/[\u0000-\u0009\u000b-\u001f\u007f-\u009f\u202e]/);
      expect(`${out}${err}`).toContain('\\u001b[31mred');
    }
    expect(await theLimit(evil)).toMatchObject({ match: { job: evil } });
  });
});

test.each(['list', 'plan', 'apply', 'set', 'unset', 'pause', 'resume', 'add', 'drop'])(
  'limits %s has help with examples and its JSON',
  async (name) => {
    const said = await cli(['limits', name, '--help']);
    expect(said.out).toMatch(new RegExp(`Examples?:\n  lockkeeper limits ${name}[^]*With --json:`));
  },
);
