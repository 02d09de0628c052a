/** What asks for much at once, and is passed over by what asks for little: after ten minutes it is named, with what helps. */

import { afterEach, expect, test } from 'vitest';
import { job } from '../../src/jobs.ts';
import { Limits } from '../../src/limits/limits.ts';
import { setPriority } from '../../src/runs.ts';
import { cliOn } from '../support/cli.ts';
import { tellStory } from '../support/story.ts';

const story = await tellStory();
const limits = new Limits(story.database.execute, () => undefined);
const narrow = job('narrow', { pool: 'warehouse' }, story.handler);
const wide = job('wide', { pool: { warehouse: 3 } }, story.handler);
/** Both of its first steps look at the pool. */
const twice = job('twice')
  .step('two', { pool: { warehouse: 2 } }, story.handler)
  .step('three', { pool: { warehouse: 3 } }, story.handler);
const pools = (warehouse: number, buffer: number) => ({
  concurrency: { pools: { limits: { warehouse, licence: 1 }, op_granularity_run_buffer: buffer } },
});
/** Lets the steps of all runs be ready at once. */
const all = 9;

let narrows = 0;
const submitNarrow = () => story.submit(`n${++narrows}`, narrow);

async function fillWarehouse(): Promise<void> {
  for (let i = 0; i < 3; i++) await submitNarrow();
  await story.settle();
}

/** Three times three minutes pass, and after each the oldest narrow run ends and the next one starts. */
async function nineMinutes(): Promise<void> {
  for (let i = 0; i < 3; i++) {
    await story.advance(180);
    await submitNarrow();
    await story.finish(
      ...story
        .running()
        .filter((step) => step.startsWith('n'))
        .slice(0, 1),
    );
  }
}

const passedOver = () =>
  story.rows('select run_id, step, key, amount, passed_by::int from lockkeeper.passed_over order by since');
const said = async (run: string) => (await story.why(run)).map(({ sentence }) => sentence).join('\n');

async function doctorSays() {
  const { json } = await cliOn(story.database.connectionString)(['doctor', '--json']);
  const checks = json.checks as { check: string; status: string; message: string; hint: string | null }[];
  return checks.find(({ check }) => check === 'passed-over');
}

afterEach(() => limits.resume({ job: 'narrow' }));

test('the next of those that ask for the same is named when the first is canceled', async () => {
  await story.apply(pools(3, 0));
  await story.work([narrow, wide]);
  await fillWarehouse();
  await story.submit('w', wide);
  await story.submit('next', wide);
  await nineMinutes();
  await story.advance(60);
  const named = async () => (await passedOver()).map(({ run_id }) => run_id);
  expect(await named()).toEqual([story.idOf('w')]);
  await story.cancel('w');
  expect(await named()).toEqual([story.idOf('next')]);
});

test('a run that asks for three slots, while others take one each', async () => {
  await story.apply(pools(3, 0));
  await story.work([narrow, wide]);
  await fillWarehouse();
  await story.submit('w', wide);
  await nineMinutes();
  expect(await story.stateOf('w')).toBe('queued');
  expect(await passedOver()).toEqual([]);
  expect(await said('w')).not.toContain('passed');
  expect(await said('w')).not.toContain('at once');
  expect(await doctorSays()).toMatchObject({ status: 'ok' });

  await story.advance(60);
  expect(await passedOver()).toEqual([
    { run_id: story.idOf('w'), step: null, key: 'pool.warehouse', amount: 3, passed_by: 3 },
  ]);
  expect(await said('w')).toMatch(
    /It asks for 3 slots of pool\.warehouse at once; 3 later ones that hold slots there started since it began to wait at \S+ \S+Z, the last at \S+ \S+Z: they fit where it does not\. A higher priority keeps no room free\. Pause those \(`lockkeeper pause --job …`\)/,
  );
  expect(await doctorSays()).toMatchObject({
    status: 'warn',
    message: expect.stringContaining(`run ${story.idOf('w')} at pool.warehouse (for 10m 0s, by 3)`),
    hint: expect.stringContaining('lockkeeper pause --job'),
  });
});

test('a run of two such steps is named once', async () => {
  await story.apply(pools(3, 0));
  await story.work([narrow, twice]);
  await fillWarehouse();
  await story.submit('w', twice);
  await story.settle();
  await nineMinutes();
  await story.advance(60);
  expect(await passedOver()).toMatchObject([{ run_id: story.idOf('w'), step: null, amount: 3 }]);
  expect(await said('w')).toContain('asks for 3 slots');
});

test('a higher priority does not let it start; a pause of the others does', async () => {
  await story.apply(pools(3, 0));
  await story.work([narrow, wide]);
  await fillWarehouse();
  await story.submit('w', wide);
  await story.settle();
  await setPriority(story.database.execute, [story.idOf('w')], 9);
  await nineMinutes();
  await story.advance(60);
  expect(await story.stateOf('w')).toBe('queued');
  expect(await passedOver()).toMatchObject([{ run_id: story.idOf('w') }]);

  await limits.pause({ job: 'narrow' }, { by: 'ana', why: 'the wide one is to start' });
  await nineMinutes();
  expect(await story.stateOf('w')).toBe('running');
  expect(await passedOver()).toEqual([]);
});

test('a step of a run that was admitted; of two that ask for the same, the view names the first and why both', async () => {
  await story.apply(pools(3, all));
  await story.work([narrow, wide]);
  await fillWarehouse();
  for (const run of ['w1', 'w2']) await story.submit(run, wide);
  await story.settle();
  await nineMinutes();
  await story.advance(60);
  expect(await story.stepsOf('w1')).toEqual({ run: 'ready' });
  expect(await passedOver()).toEqual([
    { run_id: story.idOf('w1'), step: 'run', key: 'pool.warehouse', amount: 3, passed_by: 3 },
  ]);
  for (const run of ['w1', 'w2']) expect(await said(run)).toContain('3 later ones that hold slots there');
  expect(await doctorSays()).toMatchObject({
    message: expect.stringContaining(`step run of run ${story.idOf('w1')}`),
  });
});

test('a step waits since the end of what came before it, not since its run was submitted', async () => {
  const late = job('late')
    .step('first', story.handler)
    .step('then', { after: ['first'], pool: { warehouse: 3 } }, story.handler);
  await story.apply(pools(3, all));
  await story.work([narrow, late]);
  await fillWarehouse();
  await story.submit('w', late);
  await story.settle();
  await story.advance(300);
  await story.finish('w.first');
  await nineMinutes();
  expect(await passedOver()).toEqual([]);
  await story.advance(60);
  expect(await passedOver()).toMatchObject([{ step: 'then', passed_by: 3 }]);
});

test('one slot of each of two pools', async () => {
  const both = job('both', { pool: { warehouse: 1, licence: 1 } }, story.handler);
  const licensed = job('licensed', { pool: 'licence' }, story.handler);
  await story.apply(pools(1, all));
  await story.work([narrow, both, licensed]);
  await story.submit('l1', licensed);
  await submitNarrow();
  await story.settle();
  await story.submit('b', both);
  await story.settle();
  await story.advance(60);
  await submitNarrow();
  await story.finish(`n${narrows - 1}.run`);
  await story.submit('l2', licensed);
  await story.finish('l1.run');
  expect(story.running()).toEqual([`n${narrows}.run`, 'l2.run']);
  await story.advance(600);
  expect(await passedOver()).toEqual([
    { run_id: story.idOf('b'), step: 'run', key: 'pool.warehouse', amount: 1, passed_by: 1 },
  ]);
  expect(await said('b')).toContain(
    'It needs slots of pool.licence and pool.warehouse at the same moment; 1 later one that holds slots there started since',
  );
});

test('who waits behind what comes before it is not passed over', async () => {
  await story.apply(pools(3, all));
  await story.work([narrow, wide]);
  await fillWarehouse();
  await story.submit('w', wide, { priority: -1 });
  await story.settle();
  await nineMinutes();
  await story.advance(60);
  expect(await story.stepsOf('w')).toEqual({ run: 'ready' });
  expect(await passedOver()).toEqual([]);
  expect(await said('w')).not.toContain('at once');
});

test('nor is who asks for one slot, even if its turn came only now', async () => {
  await story.apply(pools(3, 0));
  await story.work([narrow]);
  await fillWarehouse();
  await story.submit('n', narrow, { priority: -1 });
  await story.settle();
  await nineMinutes();
  await setPriority(story.database.execute, [story.idOf('n')], 9);
  await story.advance(60);
  expect(await story.stateOf('n')).toBe('queued');
  expect(await passedOver()).toEqual([]);
});

test('those who had slots before it came are not counted', async () => {
  await story.apply(pools(3, all));
  await story.work([narrow, wide]);
  await fillWarehouse();
  await story.submit('w', wide, { priority: 9 });
  await story.settle();
  await story.advance(660);
  expect(await passedOver()).toEqual([]);

  await submitNarrow();
  await story.finish(`n${narrows - 1}.run`);
  expect(await passedOver()).toMatchObject([{ step: 'run', passed_by: 1 }]);
});
