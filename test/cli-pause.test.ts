/** The commands pause and resume: what matches is held back, and all the rest goes on. */

import { afterEach, describe, expect, test } from 'vitest';
import type { Lease } from '../src/leases.ts';
import { cliOn } from './support/cli.ts';
import { claimAll, openStage } from './support/stage.ts';

const stage = await openStage();
const cli = cliOn(stage.database.connectionString, { USER: 'ana' });
await stage.rows("select lockkeeper.stop_clock('2026-01-31T06:00:00Z')");
const load = await stage.register('load', {
  extract: {},
  copy: { after: ['extract'], pool: 'warehouse' },
});
const report = await stage.register('report', { draw: {} });
const why = ['--why', 'the source is down'];
type Row = Record<string, unknown>;

afterEach(async () => {
  await stage.rows(
    `select lockkeeper.resume(p.match) from (select distinct match from lockkeeper.limits where source = 'pause') p`,
  );
});

/** A whole pass; answers the steps that start, as job.step. */
async function starts(lease: Lease): Promise<string[]> {
  await stage.tick();
  return (await claimAll(lease)).map(({ job, step }) => `${job}.${step}`).toSorted();
}

async function succeed(lease: Lease, runId: string): Promise<void> {
  await lease.finish([{ runId, place: 1, attempt: 1, outcome: 'succeeded' }]);
}

const queuedOf = async (...runs: string[]) => Promise.all(runs.map((run) => stage.stateOf(run)));

describe('what is held back', () => {
  test('a job: its runs and its steps, while others go on, until it is resumed', async () => {
    const lease = await stage.serve(load, report);
    const [live] = (await stage.submit(load)) as [string];
    expect(await starts(lease)).toEqual(['load.extract']);
    const { out, err } = await cli(['pause', '--job', 'load', ...why]);
    expect(err).toBe('');
    expect(out).toBe(`Paused: no run is admitted and no step starts where job=load (ana: the source is down).
What runs goes on. \`lockkeeper resume --job load\` ends it.`);

    await succeed(lease, live);
    const [queued, other] = (await stage.submit(load, report)) as [string, string];
    expect(await starts(lease)).toEqual(['report.draw']);
    expect(await queuedOf(queued, other)).toEqual(['queued', 'running']);
    expect((await stage.stepsOf(live)).copy).toBe('ready');
    expect((await cli(['why', queued])).out).toMatch(
      /paused\.job=load 1 of 0\n +paused\.job=load[\s\S]*paused[\s\S]*ana[\s\S]*: the source is down/,
    );
    expect((await cli(['why', `${live}.copy`])).out).toContain('paused.steps.job=load');
    expect((await cli(['limits', 'list'])).out).toMatch(
      /paused\.job=load +runs +job=load +- +- +0 \(paused\) +pause +ana +- +the source is down/,
    );
    const one = (await cli(['limits', 'list', 'paused.job=load'])).out;
    expect(one).toMatch(/override +0 \(paused\), since 2026-01-31 06:00:00Z \(ana: the source is down\)/);

    expect(await cli(['resume', '--job', 'load'])).toMatchObject({
      code: 0,
      out: 'What is of job=load starts again, as the limits allow.',
    });
    expect(await starts(lease)).toEqual(['load.copy', 'load.extract']);
  });

  test('everything, and only until the time is over', async () => {
    const lease = await stage.serve(load, report);
    const paused = await cli(['pause', '--all', ...why, '--for', '10s', '--json']);
    expect(paused.json).toEqual({
      name: 'paused',
      match: {},
      counts: ['run', 'step'],
      override_by: 'ana',
      override_why: 'the source is down',
      override_at: '2026-01-31T06:00:00.000Z',
      override_until: '2026-01-31T06:00:10.000Z',
    });
    await stage.submit(load, report);
    expect(await starts(lease)).toEqual([]);
    await stage.rows('select lockkeeper.advance_clock(10)');
    expect(await starts(lease)).toEqual(['load.extract', 'report.draw']);
    expect(await cli(['resume', '--all'])).toMatchObject({
      code: 1,
      err: expect.stringMatching(/There is no pause of everything\.\nhint: Nothing is paused\./),
    });
  });

  test('a pool: only its steps, so that runs that use it later begin', async () => {
    const lease = await stage.serve(load, report);
    const [run] = (await stage.submit(load)) as [string];
    expect((await cli(['pause', '--pool', 'warehouse', ...why, '--json'])).json).toMatchObject({
      name: 'paused.pool=warehouse',
      counts: ['step'],
    });
    expect(await starts(lease)).toEqual(['load.extract']);
    await succeed(lease, run);
    expect(await starts(lease)).toEqual([]);
    expect((await cli(['why', run])).out).toContain('paused.steps.pool=warehouse');
    expect((await cli(['resume', '--pool', 'warehouse'])).code).toBe(0);
    expect(await starts(lease)).toEqual(['load.copy']);
  });

  test('selectors together: what matches all of them', async () => {
    const lease = await stage.serve(load, report);
    const selectors = ['--job', 'load', '--tag', 'customer=acme', '--tag', 'size=big'];
    expect((await cli(['pause', ...selectors, ...why, '--runs-only', '--json'])).json).toMatchObject({
      match: { job: 'load', 'tag.customer': 'acme', 'tag.size': 'big' },
      counts: ['run'],
    });
    const submit = async (...tags: string[]) => {
      const said = await cli(['submit', 'load', ...tags.flatMap((tag) => ['--tag', tag]), '--json']);
      return (said.json.runs as [{ run_id: string }])[0].run_id;
    };
    const runs = [await submit('customer=acme'), await submit('customer=acme', 'size=big')];
    await stage.tick();
    expect(await queuedOf(...runs)).toEqual(['admitted', 'queued']);
    // Exactly this match: fewer selectors are another pause.
    expect(await cli(['resume', '--job', 'load'])).toMatchObject({
      code: 1,
      err: expect.stringContaining('Pauses in force: job=load tag.size=big tag.customer=acme.'),
    });
    expect((await cli(['resume', ...selectors, '--json'])).json).toMatchObject({ resumed: true });
    await stage.tick();
    expect(await queuedOf(...runs)).toEqual(['admitted', 'admitted']);
    await lease.close();
  });

  test('a deployment: only admission, or only steps', async () => {
    await cli(['deployments', 'add', 'pr-1', '--kind', 'branch']);
    const lease = await stage.serve(report);
    const pause = ['pause', '--deployment', 'pr-1', ...why];
    expect((await cli([...pause, '--steps-only'])).out).toContain('no step starts where deployment=pr-1');
    const said = await cli(['submit', 'report', '--deployment', 'pr-1', '--json']);
    const run = (said.json.runs as [{ run_id: string }])[0].run_id;
    const [other] = (await stage.submit(report)) as [string];
    expect(await starts(lease)).toEqual(['report.draw']);
    expect(await queuedOf(run, other)).toEqual(['admitted', 'running']);
    // The same selectors again: instead of the one before.
    expect((await cli([...pause, '--runs-only'])).code).toBe(0);
    expect(await starts(lease)).toEqual(['report.draw']);
    expect((await cli(['limits', 'list', '--json'])).json.limits).toMatchObject([
      { name: 'executor@run' },
      { name: 'paused.deployment=pr-1', counts: 'run', source: 'pause' },
    ]);
  });
});

test('a pause is no drift, and limits resume ends it too', async () => {
  await cli(['pause', '--job', 'load', ...why]);
  const plan = await cli(['limits', 'apply', '-', '--check'], '{}');
  expect(plan).toMatchObject({ code: 0, err: '' });
  expect(plan.out).toMatch(
    /left alone:\n.*\npaused\.job=load +pause +0 \(paused\) +ana +- +the source is down/,
  );
  expect((await cli(['limits', 'plan', '-', '--json'], '{}')).json).toMatchObject({
    overrides: [],
    others: [{ name: 'paused.job=load' }, { name: 'paused.steps.job=load' }],
  });
  for (const change of [
    ['set', 'paused.job=load', '3'],
    ['pause', 'paused.job=load'],
  ])
    expect(await cli(['limits', ...change, ...why])).toMatchObject({
      code: 1,
      err: expect.stringContaining('paused.job=load is a pause'),
    });
  expect(await cli(['limits', 'resume', 'paused.job=load'])).toMatchObject({
    code: 0,
    out: 'paused.job=load is over: what it held back starts as the limits allow.',
  });
  expect(await stage.rows("select from lockkeeper.limits where source = 'pause'")).toEqual([]);
});

test('one made by SQL is the same one', async () => {
  const [row] = (await stage.rows(
    `select lockkeeper.pause('{"job": "load"}', 'otto', 'from SQL') as name`,
  )) as [Row];
  expect(row.name).toBe('paused.job=load');
  expect((await cli(['limits', 'list'])).out).toMatch(/paused\.steps\.job=load .* otto +- +from SQL/);
  expect((await cli(['resume', '--job', 'load'])).code).toBe(0);
  await cli(['pause', '--all', ...why]);
  expect(await stage.rows("select lockkeeper.resume('{}') as yes")).toEqual([{ yes: true }]);
});

test('a name that nothing has is paused with a warning', async () => {
  const said = await cli(['pause', '--job', 'laod', '--pool', 'warehose', ...why]);
  expect(said).toMatchObject({ code: 0, out: expect.stringContaining('Paused: ') });
  expect(said.err).toBe(`warning: there is no job laod so far. Did you mean load?
warning: there is no pool warehose so far. Did you mean warehouse?`);
});

test('a value that a shell would read otherwise is quoted, and no control character is printed', async () => {
  const said = await cli(['pause', '--tag', "customer=o'neil & \u001b[31msons", ...why]);
  expect(said.out).toContain("resume --tag 'customer=o'\\''neil & \\u001b[31msons'");
});

test.each([
  [2, ['pause', ...why], 'say what: --job'],
  [2, ['resume'], 'say what: --job'],
  [2, ['pause', '--all', '--job', 'load', ...why], 'cannot be used with'],
  [2, ['pause', '--job', 'load'], '--why'],
  [2, ['pause', '--job', 'load', ...why, '--runs-only', '--steps-only'], 'cannot be used with'],
  [2, ['pause', '--tag', 'customer', ...why], 'KEY=VALUE'],
  [1, ['pause', '--tag', 'no key=x', ...why], 'names the attribute "tag.no key"'],
  [1, ['pause', '--job', 'load', ...why, '--until', '2026-01-30T06:00:00Z'], 'which is over'],
])('%i: %j', async (code, args, text) => {
  const said = await cli(args);
  expect(said).toMatchObject({ code, out: '', err: expect.stringContaining(text) });
  expect(await stage.rows("select from lockkeeper.limits where source = 'pause'")).toEqual([]);
});

test.each(['pause', 'resume'])('%s has help with examples and its JSON', async (name) => {
  const said = await cli([name, '--help']);
  expect(said.out).toMatch(new RegExp(`Examples?:\n  lockkeeper ${name}[^]*With --json:`));
});
