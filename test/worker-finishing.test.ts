/** What Postgres itself refuses fails its own step, and holds up no other of its batch. */

import { expect, test } from 'vitest';
import { LeaseEndedError } from '../src/errors.ts';
import type { Claimed, Ending } from '../src/steps.ts';
import { finishAll } from '../src/worker/finishing.ts';
import { keepingLog } from './support/log.ts';
import { openStage } from './support/stage.ts';

const stage = await openStage();
const load = await stage.register('load', { copy: {} });

test('an outcome that cannot be stored ends its step as failed', async () => {
  const lease = await stage.serve(load);
  const [a, bad, c] = (await stage.submit(load, load, load)) as [string, string, string];
  await stage.tick();
  const { steps } = await lease.claim(3);
  const endings = steps.map(
    (step): Ending => ({ ...step, outcome: 'succeeded', output: step.runId === bad ? 'a\0b' : 'fine' }),
  );
  const log = keepingLog();
  expect(await finishAll(lease, endings, log)).toEqual(['accepted', 'accepted', 'accepted']);
  const states = await Promise.all([a, bad, c].map((runId) => stage.stateOf(runId)));
  expect(states).toEqual(['succeeded', 'failed', 'succeeded']);
  expect(log.lines.map(({ level, fields }) => [level, fields.run])).toEqual([['error', bad]]);
});

test('what is not the fault of the data is thrown, and nothing has ended', async () => {
  const lease = await stage.serve(load);
  const [runId] = (await stage.submit(load)) as [string];
  await stage.tick();
  const [held] = (await lease.claim(1)).steps as [Claimed];
  const dead = { finish: () => Promise.reject(new LeaseEndedError('ended')) };
  const finished = finishAll(
    dead as unknown as typeof lease,
    [{ ...held, outcome: 'succeeded' }],
    keepingLog(),
  );
  await expect(finished).rejects.toBeInstanceOf(LeaseEndedError);
  expect(await stage.stepsOf(runId)).toEqual({ copy: 'running' });
});
