/** The last two steps of a run end at the same moment, in two workers: the run ends, and it ends once. */

import { expect, test } from 'vitest';
import type { Claimed } from '../../src/steps.ts';
import { claimAll, openStage } from '../support/stage.ts';

const stage = await openStage();
const oneRun = { concurrency: { runs: { max_concurrent_runs: 1 } } };

test('both succeed', async () => {
  const pair = await stage.register('pair', { left: {}, right: {} });
  await stage.apply(oneRun);
  const [a, b] = [await stage.serve(pair), await stage.serve(pair)];
  const [runId, next] = (await stage.submit(pair, pair)) as [string, string];
  await stage.tick();
  const [left] = (await a.claim(1)).steps as [Claimed];
  const [right] = (await b.claim(1)).steps as [Claimed];
  const { first, second, waited } = await stage.race(
    (execute) => stage.through(a, execute).finish([{ ...left, outcome: 'succeeded' }]),
    (execute) => stage.through(b, execute).finish([{ ...right, outcome: 'succeeded' }]),
  );
  expect([first, second, waited]).toEqual([['accepted'], ['accepted'], true]);
  expect(await stage.stateOf(runId)).toBe('succeeded');
  expect((await stage.tick()).admitted).toEqual([next]);
});

test('one fails: the run has failed, whoever came last', async () => {
  const pair = await stage.register('pair', { left: {}, right: {} });
  const [a, b] = [await stage.serve(pair), await stage.serve(pair)];
  const [runId] = (await stage.submit(pair)) as [string];
  await stage.tick();
  const [left] = (await a.claim(1)).steps as [Claimed];
  const [right] = (await b.claim(1)).steps as [Claimed];
  const error = { name: 'Error', message: 'no' };
  await stage.race(
    (execute) => stage.through(a, execute).finish([{ ...left, outcome: 'failed', error }]),
    (execute) => stage.through(b, execute).finish([{ ...right, outcome: 'succeeded' }]),
  );
  expect(await stage.stateOf(runId)).toBe('failed');
});

test('a step waits for both: the one that ends last makes it ready', async () => {
  const diamond = await stage.register('diamond', {
    left: {},
    right: {},
    join: { after: ['left', 'right'] },
  });
  const [a, b] = [await stage.serve(diamond), await stage.serve(diamond)];
  const [runId] = (await stage.submit(diamond)) as [string];
  await stage.tick();
  const [left] = (await a.claim(1)).steps as [Claimed];
  const [right] = (await b.claim(1)).steps as [Claimed];
  await stage.race(
    (execute) => stage.through(a, execute).finish([{ ...left, outcome: 'succeeded' }]),
    (execute) => stage.through(b, execute).finish([{ ...right, outcome: 'succeeded' }]),
  );
  expect(await stage.stepsOf(runId)).toEqual({ left: 'succeeded', right: 'succeeded', join: 'ready' });
  expect((await claimAll(a)).map(({ step }) => step)).toEqual(['join']);
});
