/** The order of admission where it is hardest to keep: more lanes than locks, and a lane that opens while another is being chosen. */

import { expect, test } from 'vitest';
import { submitRuns } from '../../src/runs.ts';
import type { Claimed } from '../../src/steps.ts';
import { claimAll, openStage } from '../support/stage.ts';

const stage = await openStage();
const load = await stage.register('load', { extract: {} });
const limit = (name: string, capacity: number, per: string[] = []) =>
  stage.rows('select lockkeeper.set_limit($1)', [JSON.stringify({ name, counts: 'run', per, capacity })]);
const drop = (name: string) => stage.rows('select lockkeeper.drop_limit($1)', [name]);
const submit = (submissions: { job: string; priority?: number; tags?: Record<string, string> }[]) =>
  submitRuns(stage.queue, stage.execute, submissions);
const admitted = async () =>
  (
    await stage.rows('select run_id from lockkeeper.runs where admission is not null and ended_at is null')
  ).map(({ run_id }) => Number(run_id));

test('lanes for which the locks do not suffice lose no room to later runs', async () => {
  await stage.cutAt(64);
  await stage.serve(load);
  await limit('shared', 35);
  await limit('a', 10, ['tag.x']);
  await limit('b', 10, ['tag.x', 'job']);
  const runs = await submit(
    Array.from({ length: 200 }, (_, i) => ({ job: 'load', tags: { x: `v${i % 40}` } })),
  );
  await stage.tick();
  expect((await admitted()).toSorted((a, b) => a - b)).toEqual(
    runs.slice(0, 35).map(({ runId }) => Number(runId)),
  );
  expect(await stage.rows('select * from lockkeeper.violations')).toEqual([]);
  for (const name of ['shared', 'a', 'b']) await drop(name);
});

test('a lane that is opened while another is being chosen keeps its turn', async () => {
  const lease = await stage.serve(load);
  await limit('one', 1);
  await submit([{ job: 'load', priority: 5 }]);
  await stage.tick();
  const [step] = await claimAll(lease);
  const urgent = await submit([
    { job: 'load', priority: 5 },
    { job: 'load', priority: 5 },
  ]);
  await stage.tick();
  await submit([{ job: 'load', priority: -3 }]);
  // Born behind a full key, its lane would sleep at once; without a lock for that key it is left open.
  await stage.cutAt(0);
  await stage.rows('select * from lockkeeper.lane()');
  await stage.cutAt(256);
  const { second, waited } = await stage.race(
    async (execute) => {
      // The lane that is chosen is busy; while its chooser waits for it, room comes, and opens the lane of the urgent.
      await execute('select from lockkeeper_data.lanes where priority = -3 for update', []);
      await stage
        .through(lease, execute)
        .finish([{ ...(step as Claimed), outcome: 'succeeded', output: null }]);
    },
    (execute) => execute('select run_ids, more from lockkeeper.admit()', []),
  );
  expect(waited).toBe(true);
  expect(second.rows).toEqual([{ run_ids: [], more: true }]);
  await stage.tick();
  expect(await admitted()).toEqual([Number(urgent[0]?.runId)]);
  await drop('one');
});

test('a step that becomes ready while another is being claimed keeps its turn', async () => {
  await stage.apply({ concurrency: { pools: { limits: { warehouse: 1 } } } });
  const copy = await stage.register('copy', { extract: {}, copy: { after: ['extract'], pool: 'warehouse' } });
  const scan = await stage.register('scan', { scan: { pool: 'warehouse' } });
  const one = await stage.serve(copy);
  const two = await stage.serve(copy, scan);
  const [urgent] = await submit([{ job: 'copy', priority: 5 }]);
  await stage.tick();
  const [extract] = await claimAll(one);
  await claimAll(one); // The lane that it emptied is gone.
  await submit([{ job: 'scan' }]);
  await stage.tick();
  const { second, waited } = await stage.race(
    async (execute) => {
      // The lane that is chosen is busy; while its chooser waits for it, a step before it becomes ready.
      await execute(
        "select from lockkeeper_data.lanes where counts = 'step' and priority = 0 for update",
        [],
      );
      await stage
        .through(one, execute)
        .finish([{ ...(extract as Claimed), outcome: 'succeeded', output: null }]);
    },
    (execute) => stage.through(two, execute).claim(1),
  );
  expect(waited).toBe(true);
  expect(second).toEqual({ steps: [], more: true });
  const [next] = await claimAll(two);
  expect(next).toMatchObject({ runId: urgent?.runId, step: 'copy' });
});
