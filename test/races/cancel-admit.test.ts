/** A queued run is canceled while it is admitted: it ends, and gives back what it took. */

import { beforeEach, expect, test } from 'vitest';
import type { Executor } from '../../src/database.ts';
import { cancelRuns } from '../../src/runs.ts';
import { openStage } from '../support/stage.ts';

const stage = await openStage();
const load = await stage.register('load', { copy: {} });
const admit = async (execute: Executor) =>
  (await execute('select run_ids from lockkeeper.admit()', [])).rows[0]?.run_ids;

let runId: string;
let next: string;
beforeEach(async () => {
  await stage.apply({ concurrency: { runs: { max_concurrent_runs: 1 } } });
  await stage.serve(load);
  [runId, next] = (await stage.submit(load, load)) as [string, string];
  await stage.rows('select lockkeeper.lane()');
});

test('admission comes first', async () => {
  const { first, second, waited } = await stage.race(admit, (execute) => cancelRuns(execute, [runId], false));
  expect(first).toEqual([runId]);
  expect(waited).toBe(true);
  expect(second.get(runId)).toBe('canceled');
  expect(await stage.inUse()).toEqual({});
  expect((await stage.tick()).admitted).toEqual([next]);
});

test('cancel comes first', async () => {
  const { first, second } = await stage.race((execute) => cancelRuns(execute, [runId], false), admit);
  expect(first.get(runId)).toBe('canceled');
  expect(second).not.toContain(runId);
  await stage.tick();
  expect(await stage.stateOf(next)).toBe('admitted');
  expect(await stage.inUse()).toEqual({ 'runs{default}': 1 });
});

test('two admit at once: the second does not wait and does nothing', async () => {
  const { first, second, waited } = await stage.race(admit, admit);
  expect([first, second, waited]).toEqual([[runId], [], false]);
});

test('what somebody submits and does not commit holds up nobody', async () => {
  const { second, waited } = await stage.race(
    (execute) => execute('select lockkeeper.submit($1)', [JSON.stringify({ job: 'load', priority: 9 })]),
    admit,
  );
  expect([second, waited]).toEqual([[runId], false]);
});
