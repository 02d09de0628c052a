/** Whatever others do in pg-boss, a pass of the coordinator goes on to admission. */

import { afterEach, expect, test } from 'vitest';
import { coordinate, pass } from '../src/coordinator/tick.ts';
import { submitQueue, ticketQueue } from '../src/queue/boss.ts';
import { ticketId } from '../src/queue/tickets.ts';
import { strangersBoss } from './support/pg-boss.ts';
import { openStage } from './support/stage.ts';

const stage = await openStage();
const load = await stage.register('load', { copy: {} });
const { database, queue } = stage;
const client = await strangersBoss(database);
afterEach(async () => {
  await client.deleteAllJobs(submitQueue);
});

test('of very many submissions a pass takes a part, and admits before it takes the next', async () => {
  await stage.serve(load);
  await client.insert(
    submitQueue,
    Array.from({ length: 1_050 }, () => ({ data: { job: 'load' } })),
  );
  const first = await coordinate(database, queue);
  expect([first.submitted, first.admitted.length]).toEqual([1_000, 1_000]);
  expect(await coordinate(database, queue)).toMatchObject({ submitted: 50 });
});

test('when submissions cannot be read, what is queued is admitted all the same, and the failure is told', async () => {
  await stage.serve(load);
  const [runId] = await stage.submit(load);
  await client.send(submitQueue, { job: 'load' });
  await stage.rows('alter function lockkeeper.submit(jsonb, boolean) rename to missing');
  const passed = await pass(database, queue);
  expect([passed.admitted, passed.submitted]).toEqual([[runId], 0]);
  expect(passed.failures).toMatchObject([{ message: expect.stringContaining('does not exist') }]);
  await expect(coordinate(database, queue)).rejects.toThrow('does not exist');
  await stage.rows('alter function lockkeeper.missing(jsonb, boolean) rename to submit');
  expect(await coordinate(database, queue)).toMatchObject({ submitted: 1, failures: [] });
});

test('a ticket canceled in pg-boss cancels its run in the very next pass, however many are queued', async () => {
  await stage.apply({ concurrency: { runs: { max_concurrent_runs: 0 } } });
  await stage.serve(load);
  const runIds = await stage.submit(...Array.from({ length: 400 }, () => load));
  await coordinate(database, queue);
  await client.cancel(ticketQueue, ticketId(String(runIds[250])));
  expect(await coordinate(database, queue)).toMatchObject({ canceled: [runIds[250]] });
  expect(await stage.stateOf(String(runIds[250]))).toBe('canceled');
});
