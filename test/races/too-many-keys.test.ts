/** Runs that end together and have more keys than one call may lock: those that do not fit lose nothing. */

import { afterEach, expect, test } from 'vitest';
import { cancelRuns, retryRuns } from '../../src/runs.ts';
import { claimAll, openStage } from '../support/stage.ts';

const stage = await openStage();
await stage.cutAt(64);
const pools = (letter: string) =>
  Object.fromEntries(Array.from({ length: 40 }, (_, index) => [`${letter}${index}`, 1]));
const one = await stage.register('one', { wide: { pool: pools('a') }, last: { after: ['wide'] } });
const two = await stage.register('two', { wide: { pool: pools('b') }, last: { after: ['wide'] } });
const alone = await stage.register('alone', { wide: { pool: pools('c') } });
const config = { concurrency: { pools: { default_limit: 5 } } };
const timedOut = async (...jobs: { name: string }[]) => {
  await stage.apply(config);
  const lease = await stage.serve(one, two, alone);
  const submissions = jobs.map(({ name }) => ({ job: name, timeout_ms: 3_600_000 }));
  const rows = await stage.rows('select run_id from lockkeeper.submit($1)', [JSON.stringify(submissions)]);
  await stage.tick();
  const steps = await claimAll(lease);
  await stage.rows(`update lockkeeper_data.deadlines set at = now() - interval '1 second'`);
  return { lease, steps, runIds: rows.map((row) => String(row.run_id)) };
};
const expire = () => stage.rows('select * from lockkeeper.expire()');
afterEach(async () => expect(await stage.rows('select * from lockkeeper.violations')).toEqual([]));

test('both time out, one after the other', async () => {
  const { runIds } = await timedOut(one, alone);
  while ((await expire())[0]?.more === true);
  expect(await Promise.all(runIds.map((runId) => stage.stateOf(runId)))).toEqual(['failed', 'failed']);
  expect(await stage.inUse()).toEqual({});
});

test('canceled by force: what did not fit is answered so', async () => {
  const { runIds } = await timedOut(one, alone);
  const rows = await stage.rows('select * from lockkeeper.cancel($1, true)', [runIds]);
  expect(rows.map(({ state }) => state)).toEqual(['canceled', 'retry']);
  await cancelRuns(stage.execute, runIds, true);
});

test('one that does not fit and ends well before the next call has succeeded, and is not tried again', async () => {
  const { lease, steps, runIds } = await timedOut(one, two);
  await expire();
  for (const step of [...steps, ...(await claimAll(lease))])
    await lease.finish([{ ...step, outcome: 'succeeded', output: null }]);
  for (const step of await claimAll(lease))
    await lease.finish([{ ...step, outcome: 'succeeded', output: null }]);
  const states = await Promise.all(runIds.map((runId) => stage.stateOf(runId)));
  expect([...states].sort()).toEqual(['failed', 'succeeded']);
  await retryRuns(stage.execute, runIds);
  await stage.submit(alone);
  await stage.tick();
  expect(await stage.rows('select * from lockkeeper.lane()')).toMatchObject([{ more: false }]);
});
