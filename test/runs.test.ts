/** Runs: submitted all or none, canceled, and their results. */

import { expect, test } from 'vitest';
import { InvalidInputError, UnknownDeploymentError, UnknownJobError } from '../src/errors.ts';
import { cancelRuns, resultsOf, submitRuns } from '../src/runs.ts';
import type { Claimed } from '../src/steps.ts';
import { openStage } from './support/stage.ts';

const stage = await openStage();
const load = await stage.register('load', { extract: {}, copy: { after: ['extract'] } });
const submit = (...submissions: { job: string; key?: string; deployment?: string }[]) =>
  submitRuns(stage.queue, stage.execute, submissions);
const fromSql = (submission: unknown) =>
  stage.rows('select * from lockkeeper.submit($1)', [JSON.stringify(submission)]);
const queued = async () =>
  Number((await stage.rows("select count(*) as n from lockkeeper.runs where state = 'queued'"))[0]?.n);

test('thousands in one call, in the order of the submissions', async () => {
  const submitted = await submit(...Array.from({ length: 2_500 }, () => ({ job: 'load' })));
  const ids = submitted.map(({ runId }) => Number(runId));
  expect(ids).toEqual(ids.toSorted((a, b) => a - b));
  expect(await queued()).toBe(2_500);
});

test('a key makes one run in its deployment, however often it is submitted', async () => {
  const [first, again] = [await submit({ job: 'load', key: 'a' }), await submit({ job: 'load', key: 'a' })];
  expect(first).toMatchObject([{ created: true }]);
  expect(again).toEqual([{ runId: first[0]?.runId, created: false }]);
  const both = await submit({ job: 'load', key: 'b' }, { job: 'load', key: 'b' });
  expect(both.map(({ created }) => created)).toEqual([true, false]);
  await cancelRuns(stage.execute, [String(first[0]?.runId)], false);
  expect(await submit({ job: 'load', key: 'a' })).toMatchObject([{ created: false }]);
});

test.each([
  ['an unknown job', { job: 'lode' }, UnknownJobError, 'LK003', 'lode'],
  ['an unknown deployment', { job: 'load', deployment: 'prd' }, UnknownDeploymentError, 'LK004', 'prd'],
  ['a wrong priority', { job: 'load', priority: 1.5 }, InvalidInputError, 'LK002', 'priority'],
  ['a wrong tag', { job: 'load', tags: { customer: 5 } }, InvalidInputError, 'LK002', 'customer'],
  ['a wrong tag key', { job: 'load', tags: { 'a b': 'x' } }, InvalidInputError, 'LK002', 'a b'],
  [
    'a wrong max_concurrent',
    { job: 'load', max_concurrent: 0 },
    InvalidInputError,
    'LK002',
    'max_concurrent',
  ],
  ['an unknown setting', { job: 'load', piority: 1 }, InvalidInputError, 'LK002', 'piority'],
  ['no job', {}, InvalidInputError, 'LK002', 'job'],
])('SQL refuses %s, with its SQLSTATE, and submits nothing', async (_, wrong, type, code, text) => {
  const refused = fromSql([{ job: 'load' }, wrong]);
  await expect(refused).rejects.toBeInstanceOf(type);
  await expect(refused).rejects.toMatchObject({ code, message: expect.stringContaining(text) });
  expect(await queued()).toBe(0);
});

test('from SQL, one object is one run', async () => {
  expect(await fromSql({ job: 'load', tags: { customer: 'acme' }, priority: 3 })).toMatchObject([
    { ordinal: 1, created: true },
  ]);
  const [run] = await stage.rows("select * from lockkeeper.runs where state = 'queued'");
  expect(run).toMatchObject({ job: 'load', deployment: 'default', tags: { customer: 'acme' }, priority: 3 });
});

test('cancel answers the state of each run, and unknown for what does not exist', async () => {
  const [runId] = (await stage.submit(load)) as [string];
  expect(await cancelRuns(stage.execute, [runId, '999999999'], false)).toEqual(
    new Map([
      [runId, 'canceled'],
      ['999999999', 'unknown'],
    ]),
  );
});

test('the result of a run is the outputs of its steps, or the errors of those that failed', async () => {
  const lease = await stage.serve(load);
  const [good, bad] = (await stage.submit(load, load)) as [string, string];
  await stage.tick();
  expect(await resultsOf(stage.execute, [good, bad])).toEqual([]);
  const [a, b] = (await lease.claim(2)).steps as [Claimed, Claimed];
  const error = { name: 'Error', message: 'no file' };
  await lease.finish([
    { ...a, outcome: 'succeeded', output: { rows: 3 } },
    { ...b, outcome: 'failed', error },
  ]);
  const [copy] = (await lease.claim(2)).steps as [Claimed];
  expect(copy).toMatchObject({ runId: good, step: 'copy', outputs: { extract: { rows: 3 } } });
  await lease.finish([{ ...copy, outcome: 'succeeded' }]);
  const results = await resultsOf(stage.execute, [good, bad]);
  expect(results).toEqual([
    { runId: good, state: 'succeeded', outputs: { extract: { rows: 3 }, copy: null }, errors: {} },
    { runId: bad, state: 'failed', outputs: {}, errors: { extract: error } },
  ]);
});
