/** A start or promotion is noted by the next tick, not when the first lease has run out. */

import { expect, test } from 'vitest';
import { openStage } from './support/stage.ts';

const stage = await openStage();
await stage.rows('select lockkeeper.stop_clock()');
const load = await stage.register('load', { copy: {} });
const advance = (seconds: number) => stage.rows('select lockkeeper.advance_clock($1)', [seconds]);

async function running() {
  const lease = await stage.serve(load);
  const [runId = ''] = await stage.submit(load);
  await stage.tick();
  expect((await lease.claim(1)).steps).toHaveLength(1);
  return runId;
}

test('the first start that is ever seen is noted before any lease has run out', async () => {
  await running();
  const [server] = await stage.rows('select isfinite(started_at) as noted from lockkeeper_data.server');
  expect(server).toEqual({ noted: true });
});

test('a worker that dies long after a start is reaped when its lease ends, and not a lease later', async () => {
  await stage.rows("update lockkeeper_data.server set started_at = '2020-01-01'");
  await stage.tick();
  await advance(3_600);
  const runId = await running();
  await advance(60.001);
  await stage.tick();
  expect(await stage.stepsOf(runId)).toEqual({ copy: 'ready' });
});
