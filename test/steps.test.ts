/** Steps: what a worker gets, and what becomes of what it answers. */

import { beforeEach, expect, test } from 'vitest';
import { transaction } from '../src/database.ts';
import { IsolationError } from '../src/errors.ts';
import type { Lease } from '../src/leases.ts';
import type { Claimed } from '../src/steps.ts';
import { openStage } from './support/stage.ts';

const stage = await openStage();
const load = await stage.register('load', { copy: { tags: { size: 'big' }, max_attempts: 2 } });

let lease: Lease;
let runId: string;
let held: Claimed;
beforeEach(async () => {
  lease = await stage.serve(load);
  const submission = { job: 'load', input: { file: 'a.csv' }, tags: { customer: 'acme' } };
  const [row] = await stage.rows('select run_id from lockkeeper.submit($1)', [JSON.stringify(submission)]);
  runId = String(row?.run_id);
  await stage.tick();
  [held] = (await lease.claim(1)).steps as [Claimed];
});

const error = { name: 'TypeError', message: 'no' };

test('a claimed step has all that its handler needs', () => {
  expect(held).toEqual({
    runId,
    place: 1,
    attempt: 1,
    job: 'load',
    version: expect.any(String),
    step: 'copy',
    deployment: 'default',
    tags: { size: 'big' },
    runTags: { customer: 'acme' },
    fencingToken: expect.any(Number),
    timeoutMs: null,
    input: { file: 'a.csv' },
    outputs: {},
  });
});

test('the fencing token rises with each attempt', async () => {
  await lease.finish([{ ...held, outcome: 'failed', error }]);
  const [second] = (await lease.claim(1)).steps as [Claimed];
  expect(second.attempt).toBe(2);
  expect(second.fencingToken).toBeGreaterThan(held.fencingToken);
});

test('an attempt that was handed back unstarted does not count', async () => {
  await lease.finish([{ ...held, outcome: 'returned' }]);
  for (const outcome of ['failed', 'failed'] as const) {
    const [step] = (await lease.claim(1)).steps as [Claimed];
    await lease.finish([{ ...step, outcome, error }]);
  }
  expect(await stage.stateOf(runId)).toBe('failed');
  const attempts = await stage.rows('select attempt, outcome from lockkeeper.attempts where run_id = $1', [
    runId,
  ]);
  expect(attempts.map(({ outcome }) => outcome)).toEqual(['returned', 'failed', 'failed']);
});

test('of a repeat, the first answer stands', async () => {
  expect(await lease.finish([{ ...held, outcome: 'succeeded', output: 1 }])).toEqual(['accepted']);
  expect(await lease.finish([{ ...held, outcome: 'failed', error }])).toEqual(['already']);
  expect(await stage.stateOf(runId)).toBe('succeeded');
});

test('what is not this attempt, or not this lease, is refused', async () => {
  const other = await stage.serve(load);
  expect(await other.finish([{ ...held, outcome: 'succeeded' }])).toEqual(['refused']);
  expect(
    await lease.finish([
      { ...held, attempt: 2, outcome: 'succeeded' },
      { ...held, place: 7, outcome: 'succeeded' },
      { ...held, runId: '999999999', outcome: 'succeeded' },
    ]),
  ).toEqual(['refused', 'refused', 'refused']);
  expect(await stage.stepsOf(runId)).toEqual({ copy: 'running' });
});

test('an error is stored as it was told', async () => {
  await lease.finish([{ ...held, outcome: 'failed', error }]);
  const [step] = await stage.rows(
    'select state, error, last_outcome from lockkeeper.steps where run_id = $1',
    [runId],
  );
  expect(step).toEqual({ state: 'ready', error, last_outcome: 'failed' });
});

test.each(['claim($1, 99, 1)', "finish($1, '[]')"])(
  'a transaction that is not READ COMMITTED is refused: %s',
  async (call) => {
    await stage.submit(load);
    await stage.tick();
    const called = transaction(stage.database, async (query) => {
      await query('set transaction isolation level serializable');
      await query(`select lockkeeper.${call}`, [lease.id]);
    });
    await expect(called).rejects.toBeInstanceOf(IsolationError);
  },
);
