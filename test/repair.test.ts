/** Repair: a database damaged by hand is found damaged, mended, otherwise as it was, and its work goes on to the end. */

import { beforeEach, describe, expect, test } from 'vitest';
import { type Busy, busyStage, drain, jobsOn, stored } from './support/busy.ts';
import { openStage } from './support/stage.ts';

const stage = await openStage();
const jobs = await jobsOn(stage);
let busy: Busy;
beforeEach(async () => {
  busy = await busyStage(stage, jobs);
});

type Violation = { violation: string; detail: string };

const repair = async () =>
  (await stage.rows('select * from lockkeeper.repair()')) as (Violation & { repair: string | null })[];
const violations = async () =>
  (await stage.rows('select violation, detail from lockkeeper.violations order by 1, 2')) as Violation[];
const kinds = (found: readonly Violation[]) =>
  [...new Set(found.map(({ violation }) => violation))].toSorted();

const sorted = (found: readonly Violation[]) =>
  found.toSorted((a, b) => `${a.violation} ${a.detail}`.localeCompare(`${b.violation} ${b.detail}`));

/** What the audits find, the runs in slices as small as can be. */
async function audited(): Promise<Violation[]> {
  const found = (await stage.rows(
    'select * from lockkeeper.audit_keys() union all select * from lockkeeper.audit_lanes()',
  )) as Violation[];
  for (let after: unknown = Number(busy.runIds[0]) - 1; after !== null; ) {
    const [slice] = await stage.rows('select * from lockkeeper.audit_runs($1, 5)', [after]);
    found.push(...((slice?.violations ?? []) as Violation[]));
    after = slice?.upto ?? null;
  }
  return sorted(found);
}

/** Damages, with the number of a run of the stage for `$n`; finds, mends, and finds nothing any more. */
async function damaged(tamper: string): Promise<string[]> {
  for (const statement of tamper.split(';'))
    await stage.rows(statement.replaceAll(/\$(\d+)/g, (_, n) => busy.runIds[Number(n) - 1] ?? '0'));
  const found = await violations();
  expect(await audited()).toEqual(sorted(found));
  const mended = await repair();
  expect(mended.filter((each) => each.repair === null)).toEqual([]);
  expect(kinds(mended)).toEqual(kinds(found));
  expect(await violations()).toEqual([]);
  return kinds(found);
}

test('in a sound database nothing is found, and nothing touched', async () => {
  const before = await stored(stage);
  expect([await violations(), await audited(), await repair()]).toEqual([[], [], []]);
  expect(await stored(stage)).toEqual(before);
  expect(await drain(busy)).toEqual({ succeeded: 11 });
});

const aCounter = 'counter is not its slots';
const noCounter = 'slot without counter';
const slots = 'slots are not what live subjects take';
const asked = 'asked is not what ready steps ask';
const attempt = 'running step without attempt, or attempt without running step';
const aLane = `(select min(lane_id) from lockkeeper_data.waiting where place > 0)`;
const otherLane = `(select l.id from lockkeeper_data.lanes l join lockkeeper_data.job_versions v on v.id = l.version_id where v.job = 'ask' and l.counts = 'run' limit 1)`;

describe('is put back as it was', () => {
  test.each([
    ['counters too high', 'update lockkeeper_data.counters set in_use = in_use + 1', [aCounter]],
    [
      'counters too low',
      'update lockkeeper_data.counters set in_use = 0',
      [aCounter, 'lane sleeps beside room'],
    ],
    ['slots gone', 'delete from lockkeeper_data.slots where place = 0', [aCounter, slots]],
    ['slots of nobody', 'insert into lockkeeper_data.slots values (99999, 0, 99999, 1)', [noCounter, slots]],
    ['slots too many', 'update lockkeeper_data.slots set amount = 2', [aCounter, slots]],
    [
      'counters gone',
      'delete from lockkeeper_data.counters using lockkeeper_data.slots s where s.key_id = counters.key_id',
      ['key without counter, or counter without key', noCounter],
    ],
    [
      'all counters gone',
      'delete from lockkeeper_data.counters',
      ['key without counter, or counter without key', noCounter],
    ],
    ['asked too much', 'update lockkeeper_data.counters set asked = asked + 7', [asked]],
    [
      'workers forgotten',
      'update lockkeeper_data.counters set capacity = -1 where capacity = 0',
      ['key of workers is not as the leases are'],
    ],
    ['watches gone', 'delete from lockkeeper_data.watches', ['lane is neither open nor asleep']],
    ['open lanes gone', 'delete from lockkeeper_data.open_lanes', ['lane is neither open nor asleep']],
    ['queued', 'delete from lockkeeper_data.waiting where place = 0', ['queued run does not wait']],
    ['delayed', 'delete from lockkeeper_data.backoffs where place = 0', ['queued run does not wait']],
    ['ready', 'delete from lockkeeper_data.waiting where place > 0', [asked, 'ready step does not wait']],
    [
      'what runs waits',
      `insert into lockkeeper_data.waiting select ${aLane}, run_id, 0, place from lockkeeper_data.attempts`,
      [asked, 'waits and should not'],
    ],
    [
      'what has succeeded waits',
      `insert into lockkeeper_data.backoffs select run_id, place, now() from lockkeeper_data.steps where state = 'succeeded' and run_id >= $1`,
      ['waits and should not'],
    ],
    ['lanes gone', 'update lockkeeper_data.waiting set lane_id = 99999', [asked, 'waits in no lane']],
    [
      'lanes mixed up',
      `update lockkeeper_data.waiting set lane_id = ${otherLane}`,
      [asked, 'waits in a lane that is not its own'],
    ],
    [
      'a backoff and a place in a lane',
      `insert into lockkeeper_data.waiting select case place when 0 then 0 else ${aLane} end, run_id, 0, place from lockkeeper_data.backoffs`,
      [asked, 'waits twice'],
    ],
    [
      'too many steps left',
      'update lockkeeper_data.runs set steps_left = 4 where ended_at is null',
      ['run should have ended'],
    ],
    [
      'needs',
      `update lockkeeper_data.steps set needs = needs + 1
         where state = 'pending' and run_id in (select id from lockkeeper_data.runs where state = 'admitted')`,
      ['pending step waits for other steps than it should'],
    ],
    [
      'too few steps left',
      'update lockkeeper_data.runs set steps_left = 0 where ended_at is null',
      ['run should have ended'],
    ],
    [
      'an attempt too many',
      `insert into lockkeeper_data.attempts (run_id, place, attempt, lease_id, claim_number, started_at)
         select run_id, place, 1, gen_random_uuid(), 1, now() from lockkeeper_data.waiting where place > 0`,
      [attempt, slots],
    ],
    [
      'deadlines of nobody',
      `insert into lockkeeper_data.deadlines values (99999, 'timeout', now())`,
      ['deadline of a run that is not live'],
    ],
    ['deadlines gone', 'delete from lockkeeper_data.deadlines', ['run with a timeout has no deadline']],
  ])('%s', async (_, tamper, expected) => {
    const before = await stored(stage);
    expect(await damaged(tamper)).toEqual(expected.toSorted());
    expect(await stored(stage)).toEqual(before);
    expect(await drain(busy)).toEqual({ succeeded: 11 });
  });
});

describe('is mended as far as it can be known, and goes on', () => {
  const end = 'run should have ended';
  const pending = 'pending step waits for other steps than it should';
  test.each([
    ['attempts gone: lost', 'delete from lockkeeper_data.attempts', [attempt, slots], {}],
    [
      'attempts of another number',
      'update lockkeeper_data.attempts set attempt = attempt + 1',
      [attempt],
      {},
    ],
    [
      'backoffs gone',
      'delete from lockkeeper_data.backoffs where place > 0',
      ['ready step does not wait'],
      {},
    ],
    ['limits raised', 'update lockkeeper_data.limits set capacity = 99', ['lane sleeps beside room'], {}],
    [
      'limits raised by one',
      'update lockkeeper_data.limits set capacity = capacity + 1',
      ['lane sleeps beside room'],
      {},
    ],
    [
      'keys gone',
      `delete from lockkeeper_data.keys where name = 'pool.api'`,
      ['key without counter, or counter without key', slots],
      {},
    ],
    [
      'all keys gone',
      `delete from lockkeeper_data.keys where name <> 'workers'`,
      ['key without counter, or counter without key', slots],
      {},
    ],
    [
      'all steps have succeeded',
      `update lockkeeper_data.steps set state = 'succeeded' where run_id in ($1, $9)`,
      [attempt, end],
      { $1: 'succeeded', $9: 'succeeded' },
    ],
    [
      'no step is left, one has failed',
      `update lockkeeper_data.steps set state = case place when 1 then 'failed' else 'skipped' end::lockkeeper_data.step_state where run_id = $1`,
      [attempt, end],
      { $1: 'failed' },
    ],
    [
      'no step is left, one was canceled',
      `update lockkeeper_data.steps set state = 'canceled' where run_id in ($1, $9) and place > 1;
       update lockkeeper_data.steps set state = 'succeeded' where run_id in ($1, $9) and place = 1`,
      [attempt, end],
      { $1: 'canceled', $9: 'canceled' },
    ],
    [
      'steps before it have succeeded, and it does not know',
      `update lockkeeper_data.steps set state = 'succeeded' where run_id in ($2, $3) and place < 3`,
      [attempt, end, pending, 'waits and should not'],
      {},
    ],
    [
      'a step before it was skipped, and it does not know',
      `update lockkeeper_data.steps set state = 'skipped' where run_id = $7 and place = 1; update lockkeeper_data.runs set steps_left = 2, failed = true where id = $7`,
      [pending, 'waits and should not'],
      { $7: 'failed' },
    ],
    [
      'runs have ended before their steps',
      `update lockkeeper_data.runs set state = 'failed', ended_at = now() where id in ($4, $8, $10)`,
      ['ended run has a step that has not ended', slots, 'waits and should not'],
      { $4: 'failed', $8: 'failed', $10: 'failed' },
    ],
    [
      'much at once',
      `update lockkeeper_data.counters set in_use = 0, asked = 9; delete from lockkeeper_data.watches; delete from lockkeeper_data.waiting;
       delete from lockkeeper_data.slots; delete from lockkeeper_data.attempts; delete from lockkeeper_data.open_lanes;
       update lockkeeper_data.runs set steps_left = 0 where ended_at is null`,
      [
        asked,
        attempt,
        end,
        'lane is neither open nor asleep',
        'queued run does not wait',
        'ready step does not wait',
        slots,
      ],
      {},
    ],
  ])('%s', async (_, tamper, expected, ends) => {
    expect(await damaged(tamper)).toEqual(expected.toSorted());
    await drain(busy);
    const rows = await stage.rows('select run_id, state from lockkeeper.runs where run_id = any ($1)', [
      busy.runIds,
    ]);
    const stateOf = new Map(rows.map(({ run_id, state }) => [String(run_id), state]));
    const runs = busy.runIds.map((id, index) => [`$${index + 1}`, stateOf.get(id)]);
    const all = Object.fromEntries(busy.runIds.map((_, index) => [`$${index + 1}`, 'succeeded']));
    expect(Object.fromEntries(runs)).toEqual({ ...all, ...ends });
  });

  test('what cannot be mended is said so and left, and the rest is mended', async () => {
    const run = busy.runIds[8];
    await stage.rows('delete from lockkeeper_data.steps where run_id = $1', [run]);
    await stage.rows('update lockkeeper_data.counters set in_use = 0');
    const answers = await repair();
    const left = { violation: end, detail: `run ${run}: steps_left 3, steps not ended 0`, repair: null };
    expect(answers.filter((each) => each.repair === null)).toEqual([left]);
    expect(answers.length).toBeGreaterThan(3);
    expect(await violations()).toEqual([{ violation: left.violation, detail: left.detail }]);
    expect(await repair()).toEqual([left]);
    await stage.rows('delete from lockkeeper_data.waiting where run_id = $1', [run]);
    await stage.rows('delete from lockkeeper_data.runs where id = $1', [run]);
    expect(await drain(busy)).toEqual({ succeeded: 10 });
  });

  test('of a lane in which several steps wait, each asks', async () => {
    await stage.apply({ concurrency: { pools: { limits: { api: 1 }, op_granularity_run_buffer: 9 } } });
    await stage.submit(...Array.from({ length: 4 }, () => busy.ask));
    await stage.tick();
    expect(await violations()).toEqual([]);
    expect(await damaged('update lockkeeper_data.counters set asked = 0')).toContain(asked);
  });

  test('a looker that watches at one root step only, and would not see room for the other, is opened', async () => {
    const both = await stage.register('both', { one: { pool: 'api' }, two: { pool: { warehouse: 2 } } });
    await stage.serve(both);
    await stage.apply({ concurrency: { pools: { limits: { api: 0, warehouse: 0 } } } });
    await stage.submit(both);
    await stage.tick();
    const lane = (await stage.rows('select lane_id from lockkeeper_data.watches where root = 2'))[0]?.lane_id;
    expect(await damaged('delete from lockkeeper_data.watches where root = 2')).toEqual([
      'lane is neither open nor asleep',
    ]);
    const open = await stage.rows('select lane_id from lockkeeper_data.open_lanes where lane_id = $1', [
      lane,
    ]);
    expect(open).toHaveLength(1);
  });

  test('only what is asked for is looked at: all keys, and the runs of a range', async () => {
    await stage.rows('update lockkeeper_data.runs set steps_left = 9 where id = any ($1)', [
      [busy.runIds[0], busy.runIds[8]],
    ]);
    await stage.rows('update lockkeeper_data.counters set asked = 5');
    const mended = await stage.rows('select * from lockkeeper.repair($1, $2)', [
      Number(busy.runIds[0]) - 1,
      busy.runIds[7],
    ]);
    expect(kinds(mended as Violation[])).toEqual([asked, end]);
    expect(await violations()).toMatchObject([{ detail: expect.stringContaining(`run ${busy.runIds[8]}:`) }]);
    expect(await repair()).toHaveLength(1);
  });
});
