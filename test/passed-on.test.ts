/** Wakes between processes: who finds work does it, and tells others what it leaves. No loop ticks by itself here. */

import { beforeEach, expect, test, vi } from 'vitest';
import { job } from '../src/jobs.ts';
import { createLockkeeper, type Lockkeeper } from '../src/lockkeeper.ts';
import { testDatabase } from './support/database.ts';
import { keepingLog } from './support/log.ts';

const database = await testDatabase();
const started: string[] = [];
let gates: { open(): void }[] = [];
const opened: Lockkeeper[] = [];

/** A process that runs `load`, each run until the gate of its start is opened. */
async function pod(name: string, names = ['load']): Promise<Lockkeeper> {
  const jobs = names.map((each) =>
    job(each, async () => {
      const gate = Promise.withResolvers<void>();
      gates.push({ open: () => gate.resolve() });
      started.push(name);
      await gate.promise;
    }),
  );
  const { connectionString } = database;
  const lockkeeper = await createLockkeeper({ connectionString, jobs, log: keepingLog() });
  opened.push(lockkeeper);
  return lockkeeper;
}

/** Until some statements were answered, so that others were too. */
async function aWhile(): Promise<void> {
  for (let n = 0; n < 20; n += 1) await database.execute('select 1', []);
}

/** Hints are merged for 5 ms; a loop that nobody woke would tick after a second of this clock. */
async function untilStarted(...pods: string[]): Promise<void> {
  for (let ms = 0; ms < 700 && started.length < pods.length; ms += 5) {
    await vi.advanceTimersByTimeAsync(5);
    await aWhile();
  }
  expect(started.toSorted()).toEqual(pods.toSorted());
}

/** Until what follows the start is over: all loops have ticked, and listen. */
async function untilQuiet(listeners = opened.length): Promise<void> {
  const listening =
    "select count(*)::int as n from pg_stat_activity where datname = current_database() and application_name = 'lockkeeper listen'";
  for (;;) {
    const { rows } = await database.execute(listening, []);
    if (rows[0]?.n === listeners) break;
  }
  for (let round = 0; round < 20; round += 1) {
    await vi.advanceTimersByTimeAsync(5);
    await aWhile();
  }
}

beforeEach(() => {
  vi.useFakeTimers({ toFake: ['setTimeout', 'clearTimeout', 'performance'] });
  started.length = 0;
  gates = [];
});

async function close(): Promise<void> {
  for (const gate of gates) gate.open();
  let closed = false;
  const closing = Promise.all(opened.splice(0).map((each) => each.close())).finally(() => {
    closed = true;
  });
  while (!closed) {
    await vi.advanceTimersByTimeAsync(5);
    await aWhile();
  }
  vi.useRealTimers();
  await closing;
}

function play(name: string, work: () => Promise<void>): void {
  test(name, () => work().finally(close));
}

play('a worker that has no room tells others', async () => {
  const [a, b] = [await pod('a'), await pod('b')];
  await a.work({ room: 1 });
  await b.startWorker({ room: 1 });
  await untilQuiet();
  await a.submitMany([{ job: 'load' }]);
  await untilStarted('a');
  await a.submitMany([{ job: 'load' }]);
  await untilStarted('a', 'b');
});

play('what a worker here does not serve is told to others', async () => {
  const [a, b] = [await pod('a'), await pod('b', ['other'])];
  await a.work();
  await b.startWorker();
  await untilQuiet();
  await a.submitMany([{ job: 'other' }]);
  await untilStarted('b');
});

play('a slot that is given back goes to the process whose step waits for it', async () => {
  const [a, b] = [await pod('a'), await pod('b', ['other'])];
  await a.applyConfig({ concurrency: { runs: { max_concurrent_runs: 1 } } });
  await a.work();
  await b.startWorker();
  await untilQuiet();
  await a.submitMany([{ job: 'load' }, { job: 'other' }]);
  await untilStarted('a');
  gates[0]?.open();
  await untilStarted('a', 'b');
});

play('a run ends in another process, and who waits for its result has it', async () => {
  const [a, b] = [await pod('a', []), await pod('b')];
  await b.work();
  await untilQuiet(1);
  const { runId } = await a.submit('load');
  let state: string | undefined;
  void a.result(runId).then((result) => {
    state = result.state;
  });
  await untilStarted('b');
  gates[0]?.open();
  for (let ms = 0; ms < 700 && state === undefined; ms += 5) {
    await vi.advanceTimersByTimeAsync(5);
    await aWhile();
  }
  expect(state).toBe('succeeded');
});
