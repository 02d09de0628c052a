/** The coordinator's audit: what somebody damaged is mended within a minute of the database's own, and the log says so. */

import { afterEach, beforeEach, expect, test } from 'vitest';
import { Auditor, auditKeys, auditRuns, repair } from '../src/coordinator/auditor.ts';
import { Coordinator } from '../src/coordinator/coordinator.ts';
import { type Busy, busyStage, drain, finishAll, jobsOn, stored } from './support/busy.ts';
import { keepingLog } from './support/log.ts';
import { openStage } from './support/stage.ts';

const stage = await openStage();
const jobs = await jobsOn(stage);
const log = keepingLog();
let busy: Busy;
let coordinator: Coordinator;
let woken = 0;
beforeEach(async () => {
  busy = await busyStage(stage, jobs);
  const { database, queue } = stage;
  coordinator = new Coordinator({ database, queue, settings: {}, log, onProgress: () => (woken += 1) });
});
afterEach(async () => {
  await coordinator.stop();
  log.lines.length = 0;
});

const violations = () => stage.rows('select violation, detail from lockkeeper.violations');

test('where nothing is wrong it says nothing and wakes nobody', async () => {
  const before = [await stored(stage), woken];
  for (let round = 0; round < 7; round += 1) await coordinator.keep();
  expect(log.lines).toEqual([]);
  expect([await stored(stage), woken]).toEqual(before);
});

test('a counter that is too high is counted anew, and who waited for its room is woken', async () => {
  const before = [await stored(stage), woken];
  await stage.rows(
    `update lockkeeper_data.counters c set in_use = 6 from lockkeeper_data.keys k where k.id = c.key_id and k.name = 'pool.api'`,
  );
  await coordinator.keep();
  expect(log.lines).toEqual([
    {
      level: 'warn',
      message: expect.stringContaining('found and mended'),
      fields: {
        violation: 'counter is not its slots',
        found: 1,
        details: ['pool.api: in_use 6, slots 1'],
        repair: 'counted anew',
      },
    },
  ]);
  expect(await violations()).toEqual([]);
  expect(await stored(stage)).toEqual(before[0]);
  expect(woken).toBe(Number(before[1]) + 1);
});

test('keys are looked at once in six rounds, runs in every round', async () => {
  await coordinator.keep();
  await stage.rows('update lockkeeper_data.counters set in_use = in_use + 1');
  for (let round = 1; round < 6; round += 1) await coordinator.keep();
  expect(log.lines).toEqual([]);
  await coordinator.keep();
  expect(log.lines).toMatchObject([{ level: 'warn', fields: { violation: 'counter is not its slots' } }]);

  await stage.rows('delete from lockkeeper_data.waiting where place = 0');
  await coordinator.keep();
  expect(log.lines[1]).toMatchObject({
    level: 'warn',
    fields: { violation: 'queued run does not wait', found: 4, repair: 'it arrives once more' },
  });
  expect(await drain(busy)).toEqual({ succeeded: 11 });
});

test('runs are walked through to the end, slice by slice, and then again', async () => {
  const auditor = new Auditor(stage.database, stage.queue, 3);
  const walk = async () => {
    const found: string[][] = [];
    for (let upto: string | undefined = '0'; upto !== undefined && found.length < 99; ) {
      const slice = await auditor.runs();
      found.push(slice.mended.map(({ detail }) => detail));
      upto = slice.upto;
    }
    return found;
  };
  for (const run of [busy.runIds[1], busy.runIds[8]]) {
    await stage.rows('update lockkeeper_data.runs set steps_left = 9 where id = $1', [run]);
    const found = await walk();
    expect(found.length).toBeGreaterThan(3);
    expect(found.flat()).toEqual([expect.stringContaining(`run ${run}: steps_left 9`)]);
  }
});

test('each kind has its line, with ten in detail', async () => {
  await stage.submit(...Array.from({ length: 20 }, () => busy.ask));
  await stage.tick();
  await stage.rows('delete from lockkeeper_data.waiting where place = 0');
  await stage.rows('update lockkeeper_data.runs set steps_left = 9 where id = any ($1)', [busy.runIds]);
  await coordinator.keep();
  expect(log.lines.map(({ fields }) => [fields.violation, fields.found])).toEqual(
    expect.arrayContaining([
      ['queued run does not wait', 24],
      ['run should have ended', 11],
    ]),
  );
  for (const { fields } of log.lines) expect(fields.details).toHaveLength(10);
  expect(await violations()).toEqual([]);
});

test('what cannot be mended is an error', async () => {
  const run = busy.runIds[8];
  await stage.rows('delete from lockkeeper_data.steps where run_id = $1', [run]);
  await coordinator.keep();
  expect(log.lines).toEqual([
    {
      level: 'error',
      message: expect.stringContaining('could not be mended'),
      fields: {
        violation: 'run should have ended',
        found: 1,
        details: [`run ${run}: steps_left 3, steps not ended 0`],
      },
    },
  ]);
  await stage.rows('delete from lockkeeper_data.waiting where run_id = $1', [run]);
  await stage.rows('delete from lockkeeper_data.runs where id = $1', [run]);
});

test('two coordinators at once: it is mended once', async () => {
  const { database, queue } = stage;
  const other = new Coordinator({ database, queue, settings: {}, log, onProgress: () => {} });
  await stage.rows('delete from lockkeeper_data.watches');
  await Promise.all([coordinator.keep(), other.keep()]);
  const found = log.lines.flatMap(({ fields }) => fields.violation ?? []);
  expect(found).toEqual(['lane is neither open nor asleep']);
  expect(await violations()).toEqual([]);
  await other.stop();
});

test('while much goes on, nothing is found: each look is true as of one moment', async () => {
  let over = false;
  const work = async (round: number) => {
    await stage.submit(busy.load, busy.ask, busy.load, busy.ask);
    await stage.tick();
    await finishAll(busy.lease, (await busy.lease.claim(3)).steps);
    await stage.rows('select lockkeeper.cancel($1, $2)', [[busy.runIds[round % 11]], round % 2 === 0]);
    await stage.apply({
      concurrency: { runs: { max_concurrent_runs: 3 + (round % 4) }, pools: { limits: { api: round % 3 } } },
    });
  };
  const audits = async () => {
    const found = [];
    while (!over) {
      found.push(...(await auditKeys(stage.execute)));
      for (let after: string | undefined = '0'; after !== undefined; ) {
        const { violations: wrong, upto } = await auditRuns(stage.execute, after, 40);
        found.push(...wrong);
        after = upto;
      }
      found.push(...(await repair(stage.execute, '0', undefined)));
    }
    return found;
  };
  const works = async () => {
    for (let round = 0; round < 12; round += 1) await Promise.all([work(round), work(round + 1)]);
    over = true;
  };
  const [found] = await Promise.all([audits(), audits(), works()]);
  expect(found).toEqual([]);
});
