/** Repair while others work: whoever comes first, the other waits or works on, nothing is damaged and nothing lost. */

import { beforeEach, expect, test } from 'vitest';
import type { Executor } from '../src/database.ts';
import { type Busy, busyStage, drain, jobsOn } from './support/busy.ts';
import { openStage } from './support/stage.ts';

const stage = await openStage();
const jobs = await jobsOn(stage);
let busy: Busy;
beforeEach(async () => {
  busy = await busyStage(stage, jobs);
});

const damages = [
  'update lockkeeper_data.counters set in_use = in_use + 1, asked = asked + 1',
  'delete from lockkeeper_data.watches',
  'delete from lockkeeper_data.slots where place > 0',
  'update lockkeeper_data.runs set steps_left = 7 where ended_at is null',
  'delete from lockkeeper_data.waiting where place > 0',
];
const damage = async () => {
  for (const each of damages) await stage.rows(each);
};
const repair = (execute: Executor) => execute('select * from lockkeeper.repair()', []);

/** What others do meanwhile; `waits`: for repair, as it must. Null: not for long. */
const others: [name: string, waits: boolean | null, work: (execute: Executor) => Promise<unknown>][] = [
  ['submit', false, (execute) => execute(`select lockkeeper.submit('{"job": "ask"}')`, [])],
  ['lane', true, (execute) => execute('select lockkeeper.lane()', [])],
  ['admit', true, (execute) => execute('select lockkeeper.admit()', [])],
  ['claim', true, (execute) => stage.through(busy.lease, execute).claim(1)],
  ['renew', false, (execute) => execute(`select lockkeeper.renew_lease($1, '[]')`, [busy.lease.id])],
  ['finish', true, finishOne],
  ['sweep', true, (execute) => execute('select lockkeeper.sweep()', [])],
  ['reap', true, (execute) => execute('select lockkeeper.reap()', [])],
  ['set_priority', true, (execute) => execute('select lockkeeper.set_priority($1, 5)', [busy.runIds])],
  ['retry', true, (execute) => execute('select lockkeeper.retry($1)', [busy.runIds])],
  ['apply', true, (execute) => stage.apply({ concurrency: { runs: { max_concurrent_runs: 7 } } }, execute)],
  ['open_lease', true, (execute) => execute(`select lockkeeper.open_lease('w', 1, '[]')`, [])],
  ['collect_keys', null, (execute) => execute('select lockkeeper.collect_keys()', [])],
  ['archive', false, (execute) => execute('select lockkeeper.archive()', [])],
  ['cancel', true, (execute) => execute('select lockkeeper.cancel($1)', [[busy.runIds[2]]])],
  ['force', true, (execute) => execute('select lockkeeper.cancel($1, true)', [[busy.runIds[3]]])],
];

async function finishOne(execute: Executor): Promise<unknown> {
  const [row] = await stage.rows(
    'select run_id, place, attempt from lockkeeper_data.attempts where lease_id = $1',
    [busy.lease.id],
  );
  const ending = { runId: String(row?.run_id), place: Number(row?.place), attempt: Number(row?.attempt) };
  return stage.through(busy.lease, execute).finish([{ ...ending, outcome: 'succeeded' }]);
}

const soundEnd = async () => {
  expect(await stage.rows('select violation, detail from lockkeeper.violations')).toEqual([]);
};

test('repair first: who takes locks waits for it, nobody fails', async () => {
  for (const [name, waits, work] of others) {
    await damage();
    const raced = await stage.race(repair, work);
    expect(raced.first.rows.length, name).toBeGreaterThan(0);
    if (waits !== null) expect([name, raced.waited]).toEqual([name, waits]);
    await soundEnd();
  }
  const { succeeded = 0, canceled } = await drain(busy);
  expect([succeeded, canceled]).toEqual([9, 2]);
});

test('repair second: it waits for what is under way, and mends what that left', async () => {
  for (const [name, , work] of others) {
    await damage();
    const raced = await stage.race(work, repair);
    expect(raced.second.rows.length, name).toBeGreaterThan(0);
    await soundEnd();
  }
  const { succeeded = 0, canceled } = await drain(busy);
  expect([succeeded, canceled]).toEqual([9, 2]);
});

test('two at once mend the same once', async () => {
  await damage();
  const { first, second, waited } = await stage.race(repair, repair);
  expect(first.rows.length).toBeGreaterThan(0);
  expect([second.rows, waited]).toEqual([[], true]);
  expect(await drain(busy)).toEqual({ succeeded: 11 });
});
