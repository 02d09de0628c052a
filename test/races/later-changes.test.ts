/** What changes a run while others are at it: another priority, a retry, a deadline, its start, a version that is new. */

import { expect, test } from 'vitest';
import { type AnyJob, definitionOf, jobFromDefinition } from '../../src/jobs.ts';
import { Lease } from '../../src/leases.ts';
import { cancelRuns, retryRuns, setPriority } from '../../src/runs.ts';
import { claimAll, openStage } from '../support/stage.ts';

const stage = await openStage();
const load = await stage.register('load', { extract: {} });
const idsOf = (rows: Record<string, unknown>[]) => rows.map(({ run_id }) => String(run_id));
const sound = async () => expect(await stage.rows('select * from lockkeeper.violations')).toEqual([]);
const stateOf = async (runId: string | undefined) =>
  (await stage.rows('select state from lockkeeper.runs where run_id = $1', [runId]))[0]?.state;

test('another priority, while a coordinator admits that run: one of them comes first, and the run is there once', async () => {
  await stage.serve(load);
  const [one] = await stage.submit(load);
  await stage.rows('select lockkeeper.lane()');
  const { second } = await stage.race(
    (execute) => setPriority(execute, [String(one)], 5),
    (execute) => execute('select unnest(run_ids) as run_id from lockkeeper.admit()', []),
  );
  await stage.tick();
  expect(await stateOf(one)).toBe('admitted');
  expect(idsOf(second.rows).length).toBeLessThanOrEqual(1);
  await sound();
});

test('admitted while its priority is changed: it keeps the old one', async () => {
  await stage.serve(load);
  const [one] = await stage.submit(load);
  await stage.rows('select lockkeeper.lane()');
  const { first, second, waited } = await stage.race(
    (execute) => execute('select unnest(run_ids) as run_id from lockkeeper.admit()', []),
    (execute) => setPriority(execute, [String(one)], 5),
  );
  expect([idsOf(first.rows), [...second.values()], waited]).toEqual([[one], ['admitted'], true]);
  await sound();
});

test('two who retry the same run make one', async () => {
  await stage.serve(load);
  const [one] = await stage.submit(load);
  await cancelRuns(stage.execute, [String(one)], false);
  const { first, second, waited } = await stage.race(
    (execute) => retryRuns(execute, [String(one)]),
    (execute) => retryRuns(execute, [String(one)]),
  );
  expect(waited).toBe(true);
  expect(second[0]?.newRunId).toBe(first[0]?.newRunId);
  await sound();
});

test('a step finishes while its run times out: whoever is first decides, the other changes nothing', async () => {
  const lease = await stage.serve(load);
  const submit = async () =>
    String(
      (await stage.rows(`select run_id from lockkeeper.submit('{"job": "load", "timeout_ms": 1}')`))[0]
        ?.run_id,
    );
  const expire = (execute: typeof stage.execute) => execute('select * from lockkeeper.expire()', []);
  for (const finishFirst of [true, false]) {
    const run = await submit();
    await stage.tick();
    const [step] = await claimAll(lease);
    if (!step) {
      // The run of one millisecond was over before its step was claimed.
      expect(await stateOf(run)).toBe('failed');
      continue;
    }
    const finish = (execute: typeof stage.execute) =>
      stage.through(lease, execute).finish([{ ...step, outcome: 'succeeded', output: null }]);
    await (finishFirst ? stage.race(finish, expire) : stage.race(expire, finish));
    expect(await stateOf(run)).toBe(finishFirst ? 'succeeded' : 'failed');
    await sound();
  }
});

test('a delayed run is canceled in the moment of its start: it has ended, and waits nowhere', async () => {
  await stage.serve(load);
  const [row] = await stage.rows(
    `select run_id from lockkeeper.submit(jsonb_build_object('job', 'load', 'start_at', to_json(now() + interval '1 hour')))`,
  );
  const run = String(row?.run_id);
  await stage.rows('update lockkeeper_data.backoffs set ready_at = now()');
  const { waited } = await stage.race(
    (execute) => execute('select * from lockkeeper.sweep()', []),
    (execute) => cancelRuns(execute, [run], false),
  );
  expect(waited).toBe(true);
  await stage.tick();
  expect(await stateOf(run)).toBe('canceled');
  await sound();
});

test('a version is registered while a worker that accepts it opens its lease: the worker serves it', async () => {
  const versions: AnyJob[] = [1, 2, 3, 4].map((priority) =>
    jobFromDefinition('moving', { steps: { a: { priority } } }, () => null),
  );
  const register = (execute: typeof stage.execute, job: AnyJob | undefined) =>
    execute('select lockkeeper.register($1)', [JSON.stringify(definitionOf(job as AnyJob))]);
  const open = (execute: typeof stage.execute, job: AnyJob | undefined) =>
    Lease.open(execute, {
      worker: 'w',
      room: 1,
      leaseMs: 60_000,
      versions: [{ job: 'moving', version: definitionOf(job as AnyJob).version }],
    });
  await register(stage.execute, versions[0]);
  await register(stage.execute, versions[2]);
  const one = await stage.race(
    (execute) => register(execute, versions[1]),
    (execute) => open(execute, versions[0]),
  );
  await one.second.close();
  const two = await stage.race(
    (execute) => open(execute, versions[0]),
    (execute) => register(execute, versions[3]),
  );
  expect([one.waited, two.waited]).toEqual([true, true]);
  await stage.rows(`select lockkeeper.submit('{"job": "moving"}')`);
  await stage.tick();
  expect(await stage.rows('select keys from lockkeeper.waiting where place = 0')).toEqual([]);
  const lease = new Lease(stage.execute, two.first.id);
  expect(await claimAll(lease)).toMatchObject([{ job: 'moving', step: 'a' }]);
  await lease.close();
});
