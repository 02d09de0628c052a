/** The turn to keep: of any number of coordinators one keeps, until it stops or dies. */

import { randomUUID } from 'node:crypto';
import { afterEach, expect, test, vi } from 'vitest';
import { Coordinator } from '../src/coordinator/coordinator.ts';
import { readTodo } from '../src/coordinator/tick.ts';
import { keepingLog } from './support/log.ts';
import { openStage } from './support/stage.ts';

const stage = await openStage();
await stage.rows('select lockkeeper.stop_clock()');
const log = keepingLog();
const started: Coordinator[] = [];
const advance = (seconds: number) => stage.rows('select lockkeeper.advance_clock($1)', [seconds]);
const keep = async (pod: string, ms: number) =>
  (await stage.rows('select lockkeeper.keep($1, $2) as mine', [pod, ms]))[0]?.mine;
const nobodyKeeps = async () => (await readTodo(stage.execute, stage.queue)).keep;

afterEach(async () => {
  for (const each of started.splice(0)) await each.stop();
  await advance(25);
  expect(log.lines).toEqual([]);
});

/** A coordinator that runs; its rounds are counted and not done. */
function pod() {
  const { database, queue } = stage;
  const passed = { times: 0, waiting: Promise.withResolvers<void>() };
  const worker = {
    lease: randomUUID(),
    looked: () => {
      passed.times += 1;
      passed.waiting.resolve();
      passed.waiting = Promise.withResolvers();
    },
  };
  const coordinator = new Coordinator({
    database,
    queue,
    settings: {},
    log,
    onProgress: () => undefined,
    workers: () => [worker],
  });
  const keeps = vi.spyOn(coordinator, 'keep').mockResolvedValue();
  /** Until it has passed three times more: what it found is then in hand. */
  const passes = async () => {
    const upto = passed.times + 3;
    while (passed.times < upto) {
      const { promise } = passed.waiting;
      coordinator.wake();
      await promise;
    }
  };
  coordinator.start();
  started.push(coordinator);
  return { coordinator, keeps, passes };
}

type Pod = ReturnType<typeof pod>;
const rounds = (...pods: Pod[]) => pods.map(({ keeps }) => keeps.mock.calls.length);

test('the turn is one caller’s until its time is over or it gives it back', async () => {
  const [one, other] = [randomUUID(), randomUUID()];
  expect([await nobodyKeeps(), await keep(one, 25_000), await keep(other, 25_000)]).toEqual([
    true,
    true,
    false,
  ]);
  await advance(24);
  expect([await keep(one, 25_000), await keep(other, 25_000)]).toEqual([true, false]);
  await advance(24);
  expect([await nobodyKeeps(), await keep(other, 25_000)]).toEqual([false, false]);
  await advance(1);
  expect([await nobodyKeeps(), await keep(other, 25_000), await keep(one, 25_000)]).toEqual([
    true,
    true,
    false,
  ]);
  expect([await keep(one, 0), await nobodyKeeps()]).toEqual([false, false]);
  expect([await keep(other, 0), await nobodyKeeps()]).toEqual([true, true]);
});

test('of two coordinators one keeps; when it stops, the other does', async () => {
  const [one, other] = [pod(), pod()];
  await vi.waitFor(() => expect(one.keeps.mock.calls.length + other.keeps.mock.calls.length).toBe(1));
  await Promise.all([one.passes(), other.passes()]);
  const [keeping, idle] = one.keeps.mock.calls.length === 1 ? [one, other] : [other, one];
  expect(rounds(keeping, idle)).toEqual([1, 0]);
  await keeping.coordinator.stop();
  await idle.passes();
  await vi.waitFor(() => expect(rounds(keeping, idle)).toEqual([1, 1]));
  expect(await nobodyKeeps()).toBe(false);
});

test('of one that died another takes over, after its time', async () => {
  expect(await keep(randomUUID(), 25_000)).toBe(true);
  const living = pod();
  await advance(24);
  await living.passes();
  expect(rounds(living)).toEqual([0]);
  await advance(1);
  await living.passes();
  await vi.waitFor(() => expect(rounds(living)).toEqual([1]));
});
