/** One process of part 1, a worker or a coordinator, until SIGTERM. */

import pino from 'pino';
import { createLockkeeper, type HandlerContext } from '../../src/index.ts';
import { delay } from '../../src/wake.ts';
import { markFile, since } from './marks.ts';
import { fails, jobsWith, keysOfRun, keysOfStep, runOf } from './workload.ts';

/** What the trial tells a pod, as its only argument in JSON. */
export type PodOptions = {
  name: string;
  role: 'worker' | 'coordinator';
  url: string;
  folder: string;
  /** A reading of the monotonic clock: the zero of all marks. */
  base: string;
};

const room = 30;
const leaseMs = 3_000;

const options = JSON.parse(process.argv[2] ?? '{}') as PodOptions;
const base = BigInt(options.base);
const mark = markFile(options.folder, options.name);

async function handler({ run, step, attempt, input, signal }: HandlerContext): Promise<string> {
  const { no } = input as { no: number };
  const drawn = runOf(no);
  const failing = fails(no, step, attempt);
  const subject = { run: run.id, no, step, attempt };
  const keys = { runKeys: keysOfRun(drawn), stepKeys: keysOfStep(drawn, step) };
  mark({ at: 'start', time: since(base), ...subject, ...keys });
  await delay(5 + ((no * 7 + step.length * 3) % 20), signal);
  mark({ at: 'end', time: since(base), ...subject, outcome: failing ? 'failed' : 'succeeded' });
  if (failing) throw new Error('this attempt was to fail');
  return options.name;
}

const lockkeeper = await createLockkeeper({
  connectionString: options.url,
  jobs: jobsWith(handler),
  maxConnections: 5,
  log: pino({ name: options.name, level: 'error' }),
});
if (options.role === 'worker') await lockkeeper.startWorker({ name: options.name, room, leaseMs });
else lockkeeper.startCoordinator();
// Without the trial, a pod has nothing to work for.
const orphaned = () => process.exit(1);
process.once('disconnect', orphaned);
process.once('SIGTERM', () => {
  process.off('disconnect', orphaned);
  void lockkeeper.close().then(() => process.disconnect());
});
process.send?.('ready');
