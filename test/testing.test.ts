/** The test kit that users get. */

import { PgBoss } from 'pg-boss';
import { afterAll, afterEach, describe, expect, expectTypeOf, inject, test } from 'vitest';
import { type HandlerContext, job } from '../src/index.ts';
import { testLockkeeper } from '../src/testing/index.ts';

const server = inject('template').url;
const seen: HandlerContext[] = [];
const load = job('load')
  .step('extract', async (context) => {
    seen.push(context);
    return { rows: 3 };
  })
  .step(
    'copy',
    {
      after: ['extract'],
      pool: 'warehouse',
      timeoutSeconds: 600,
      maxLosses: 1,
      retry: { maxAttempts: 3, backoffMs: 60_000 },
    },
    async ({ outputs }) => outputs.extract.rows,
  );
const ping = job('ping', () => undefined);

const kit = await testLockkeeper({
  jobs: [load, ping],
  server,
  now: '2026-03-01T12:00:00Z',
  patienceMs: 200,
});
const rows = async (text: string) => (await kit.lockkeeper.database.execute(text, [])).rows;
afterEach(async () => {
  expect(await rows('select * from lockkeeper.violations')).toEqual([]);
  await kit.reset();
  seen.length = 0;
});
afterAll(() => kit.close());

const oneAtATime = { concurrency: { pools: { limits: { warehouse: 1 } } } };

describe('nothing happens before settle', () => {
  test('then real handlers run to the end', async () => {
    const run = await kit.submit(load);
    expect([await kit.stateOf(run), seen.length]).toEqual(['queued', 0]);
    await kit.settle();
    expect(seen.length).toBe(1);
    const result = await kit.result(run);
    expect(result).toMatchObject({ state: 'succeeded', outputs: { extract: { rows: 3 }, copy: 3 } });
    expectTypeOf(result.outputs).toEqualTypeOf<Partial<{ extract: { rows: number } } & { copy: number }>>();
  });

  test('a run id is as good as what submit answered', async () => {
    const { runId } = await kit.submit('load');
    await kit.settle();
    expect(await kit.stateOf(runId)).toBe('succeeded');
    expect((await kit.result(runId)).outputs.copy).toBe(3);
    expect((await kit.steps(runId)).extract?.state).toBe('succeeded');
  });

  test('what other clients of pg-boss sent is taken', async () => {
    const boss = new PgBoss({ connectionString: kit.connectionString, supervise: false, schedule: false });
    await boss.start();
    await boss.send('lockkeeper.submit', { job: 'ping' });
    await boss.stop({ graceful: false });
    await kit.settle();
    expect(await rows('select job, state from lockkeeper.runs')).toEqual([
      { job: 'ping', state: 'succeeded' },
    ]);
  });

  test('a run that has not ended has no result, and says why', async () => {
    await kit.applyConfig({ concurrency: { pools: { limits: { warehouse: 0 } } } });
    const run = await kit.submit(load);
    await kit.settle();
    await expect(kit.result(run)).rejects.toThrow(/^Run \d+ is running\. copy: pool\.warehouse is paused/);
    expect((await kit.why(run, 'copy'))[0]?.key).toBe('pool.warehouse');
    await expect(kit.stateOf('123456789')).rejects.toThrow('There is no run 123456789.');
  });
});

describe('hold', () => {
  test('a limit holds two apart', async () => {
    await kit.applyConfig(oneAtATime);
    const [first, second] = [kit.hold(load, 'copy'), kit.hold(load, 'copy')];
    const [a, b] = [await kit.submit(load), await kit.submit(load)];
    await kit.settle();
    expect([first.running, second.running]).toEqual([true, false]);
    expect((await first.started).outputs).toEqual({ extract: { rows: 3 } });
    expect(() => second.succeed(1)).toThrow('Step copy of job load is held and has not started.');
    first.succeed(7);
    expect(() => first.succeed(8)).toThrow('has ended already');
    await kit.settle();
    expect([first.running, second.running]).toEqual([false, true]);
    expect((await kit.result(a)).outputs.copy).toBe(7);
    second.fail('out of paper');
    await kit.settle();
    const { copy } = await kit.steps(b);
    expect(copy).toMatchObject({ state: 'ready', attempts: 1, error: { message: 'out of paper' } });
    expectTypeOf(copy.output).toEqualTypeOf<number | null>();
  });

  test('of one run only', async () => {
    const [a, b] = [await kit.submit(load), await kit.submit(load)];
    const step = kit.hold(load, 'copy', b);
    await kit.settle();
    expect([await kit.stateOf(a), step.context.run.id]).toEqual(['succeeded', b.runId]);
  });

  test('a canceled run aborts what is held', async () => {
    const step = kit.hold(load, 'copy');
    const run = await kit.submit(load);
    await kit.settle();
    await kit.lockkeeper.cancel(run.runId);
    await kit.settle();
    expect([step.running, await kit.stateOf(run)]).toEqual([false, 'canceled']);
    expect(step.context.signal.reason).toMatchObject({ reason: 'canceled' });
  });

  test('steps and jobs must exist', () => {
    // @ts-expect-error there is no such step
    expect(() => kit.hold(load, 'copi')).toThrow('Job load has no step copi; it has extract, copy.');
    expect(() =>
      kit.hold(
        job('other', () => 1),
        'run',
      ),
    ).toThrow('is not among the jobs');
  });
});

describe('settleUntil', () => {
  test('code that waits for its run itself', async () => {
    const { outputs } = await kit.settleUntil(kit.lockkeeper.run(load));
    expect(outputs.copy).toBe(3);
    await expect(kit.settleUntil(Promise.reject(new Error('no')))).rejects.toThrow('no');
  });

  test('moves are made one after the other, however they are called', async () => {
    const run = await kit.submit(load);
    await Promise.all([kit.settle(), kit.advance({ seconds: 1 }), kit.settle(), kit.runUntilIdle()]);
    expect([await kit.stateOf(run), seen.length]).toEqual(['succeeded', 1]);
  });
});

describe('handle', () => {
  test('replaces a handler until reset', async () => {
    kit.handle(load, 'extract', () => ({ rows: 40 }));
    kit.handle(load, 'copy', ({ outputs }) => (outputs.extract?.rows ?? 0) + 2);
    kit.handle(ping, 'run', () => undefined);
    const run = await kit.submit(load);
    await kit.settle();
    expect((await kit.result(run)).outputs.copy).toBe(42);
    await kit.reset();
    const again = await kit.submit(load);
    await kit.settle();
    expect((await kit.result(again)).outputs.copy).toBe(3);
    // @ts-expect-error it returns a number
    kit.handle(load, 'copy', () => 'three');
  });

  test('settle does not wait for ever', async () => {
    const { promise, resolve } = Promise.withResolvers<number>();
    kit.handle(load, 'copy', () => promise);
    const run = await kit.submit(load);
    await expect(kit.settle()).rejects.toThrow(
      `After 200 ms a handler still runs: load.copy of run ${run.runId}.`,
    );
    resolve(1);
    await kit.settle();
    expect(await kit.stateOf(run)).toBe('succeeded');
  });
});

describe('time', () => {
  test('stands still and moves with advance', async () => {
    expect(kit.now.toISOString()).toBe('2026-03-01T12:00:00.000Z');
    await kit.advance({ days: 1, hours: 1, minutes: 1, seconds: 1, milliseconds: 1 });
    expect(kit.now.toISOString()).toBe('2026-03-02T13:01:01.001Z');
    expect(await rows('select lockkeeper.now() as now')).toEqual([{ now: kit.now }]);
    await expect(kit.advance({ seconds: -1 })).rejects.toThrow('The clock cannot move by {"seconds":-1}.');
    await expect(kit.advance({ weeks: 1 } as object)).rejects.toThrow('weeks is no unit of time');
  });

  test('every attempt happens at its moment', async () => {
    const times: number[] = [];
    kit.handle(load, 'copy', () => {
      times.push(kit.now.getTime());
      throw new Error('no');
    });
    const began = kit.now.getTime();
    const run = await kit.submit(load);
    await kit.advance({ hours: 1 });
    expect(times.map((time) => (time - began) / 1_000)).toEqual([0, 60, 180]);
    expect((kit.now.getTime() - began) / 1_000).toBe(3_600);
    expect(await kit.result(run)).toMatchObject({ state: 'failed', errors: { copy: { message: 'no' } } });
  });

  test('an attempt times out after its time, not at it', async () => {
    const step = kit.hold(load, 'copy');
    const run = await kit.submit(load);
    await kit.advance({ seconds: 600 });
    expect(step.running).toBe(true);
    await kit.advance({ milliseconds: 1 });
    expect(step.context.signal.reason).toMatchObject({ reason: 'timed out' });
    expect((await kit.steps(run)).copy).toMatchObject({ state: 'ready', attempts: 1, outcome: 'timed_out' });
  });

  test('runUntilIdle goes on to the end', async () => {
    kit.hold(load, 'copy');
    const run = await kit.submit(load);
    await kit.runUntilIdle();
    expect((await kit.steps(run)).copy).toMatchObject({ state: 'succeeded', attempts: 2 });
  });

  test('a delayed run, and the deadlines of runs', async () => {
    const startAt = new Date(kit.now.getTime() + 60_000);
    const delayed = await kit.submit(ping, undefined, { startAt });
    kit.hold(load, 'copy');
    const late = await kit.submit(load, undefined, { timeoutMs: 30_000 });
    await kit.advance({ seconds: 59 });
    expect([await kit.stateOf(delayed), await kit.stateOf(late)]).toEqual(['queued', 'failed']);
    await kit.advance({ seconds: 1 });
    expect(await kit.stateOf(delayed)).toBe('succeeded');
  });

  test('an override that ends lets the next one in', async () => {
    await kit.applyConfig(oneAtATime);
    await kit.lockkeeper.database.execute('select lockkeeper.override_limit($1, 0, $2, $3, $4)', [
      'pool.warehouse',
      'ann',
      'the warehouse moves',
      new Date(kit.now.getTime() + 90_000),
    ]);
    const run = await kit.submit(load);
    await kit.advance({ seconds: 89 });
    expect((await kit.steps(run)).copy.state).toBe('ready');
    await kit.runUntilIdle();
    expect(await kit.stateOf(run)).toBe('succeeded');
    expect(kit.now.toISOString()).toBe('2026-03-01T12:01:30.000Z');
  });

  test('what is old ends: runs after retention_days, branches after branch_deployment_days', async () => {
    await kit.applyConfig({ retention_days: 3, branch_deployment_days: 2 });
    const run = await kit.submit(ping, undefined, { branch: 'pr-1' });
    await kit.advance({ days: 1 });
    const branch = `select ended_at from lockkeeper.deployments where deployment = 'pr-1'`;
    expect([await kit.stateOf(run), await rows(branch)]).toEqual(['succeeded', [{ ended_at: null }]]);
    await kit.advance({ days: 2 });
    expect(await rows(branch)).toEqual([{ ended_at: kit.now }]);
    await kit.advance({ days: 2 });
    await expect(kit.stateOf(run)).rejects.toThrow('There is no run');
  });

  test('a month without work loses no worker', async () => {
    await kit.advance({ days: 31 });
    const run = await kit.submit(load);
    await kit.settle();
    expect(await kit.stateOf(run)).toBe('succeeded');
  });
});

describe('crashWorker', () => {
  test('what it ran is lost and tried again, as often as the job allows', async () => {
    const first = kit.hold(load, 'copy');
    const second = kit.hold(load, 'copy');
    const run = await kit.submit(load);
    await kit.settle();
    await kit.crashWorker();
    expect(first.running).toBe(false);
    await kit.settle();
    expect([second.running, second.context.attempt]).toEqual([true, 2]);
    expect(second.context.fencingToken).toBeGreaterThan(first.context.fencingToken);
    await kit.crashWorker();
    await kit.settle();
    expect((await kit.steps(run)).copy).toMatchObject({ state: 'failed', attempts: 2, losses: 2 });
  });
});

describe('reset', () => {
  test('leaves nothing', async () => {
    const step = kit.hold(load, 'copy');
    await kit.applyConfig(oneAtATime);
    await kit.lockkeeper.addDeployment('pr-1', 'branch');
    await kit.submit(load, undefined, { key: 'once' });
    await kit.settle();
    const ended = await kit.submit(ping);
    await kit.advance({ days: 2 });
    expect(await kit.stateOf(ended)).toBe('succeeded');
    await kit.reset();
    expect(step.running).toBe(false);
    expect(kit.now.toISOString()).toBe('2026-03-01T12:00:00.000Z');
    expect(await rows('select * from lockkeeper.runs')).toEqual([]);
    expect(await rows(`select * from lockkeeper.limits where source = 'config'`)).toEqual([]);
    expect(await rows('select deployment from lockkeeper.deployments')).toEqual([{ deployment: 'default' }]);
    expect((await kit.submit(load, undefined, { key: 'once' })).created).toBe(true);
  });
});
