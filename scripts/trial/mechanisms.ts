/** Part 1: 2,000 runs under every mechanism by five processes, of which one worker is killed half-way. */

import { mkdirSync, rmSync } from 'node:fs';
import { delay, monotonicMs } from '../../src/wake.ts';
import { readMarks, since } from './marks.ts';
import { compare, type Killed, type LimitSeen, Observer } from './observer.ts';
import { type Place, violationsIn } from './place.ts';
import { kill, type Pod, startPods, stopPods } from './pods.ts';
import { wrongAttempts, wrongRuns } from './records.ts';
import { setup } from './setup.ts';
import { runCount } from './workload.ts';

const victim = 'worker-2';
const pollMs = 50;
/** Something ends many times a second; after a pause as long as this nothing will. */
const standstillMs = 20_000;

/** Answers what is wrong, a line each. */
export async function mechanisms(place: Place): Promise<string[]> {
  const { database, folder, url } = place;
  rmSync(folder, { recursive: true, force: true });
  mkdirSync(folder, { recursive: true });
  const base = process.hrtime.bigint();
  const began = monotonicMs();
  const submit = await setup(url);
  const pods = await startPods({ url, folder, base: String(base) });
  try {
    const numbers = await submit();
    const killed = await killHalfWay(place, pods, base);
    const left = await waitForEnd(place, runCount);
    const took = (monotonicMs() - began) / 1_000;
    const stopped = await stopPods(pods);
    const observer = new Observer(readMarks(folder), killed);
    const { limits, over } = compare(observer.mostAtOnce());
    console.log(
      `  ${runCount - left} of ${runCount} runs ended, ${observer.attempts.size} attempts, ${took.toFixed(1)} s`,
    );
    print(limits);
    return [
      ...over,
      ...observer.wrong,
      ...(await wrongRuns(database, numbers)),
      ...(await violationsIn(database)),
      ...(await wrongAttempts(database, observer.attempts, killed.pod)),
      ...stopped,
    ];
  } finally {
    await stopPods(pods);
  }
}

async function killHalfWay(place: Place, pods: readonly Pod[], base: bigint): Promise<Killed> {
  const pod = pods.find(({ name }) => name === victim) as Pod;
  await waitForEnd(place, runCount / 2);
  const time = since(base);
  await kill(pod);
  console.log(`  ${victim} was killed after ${(time / 1e9).toFixed(1)} s`);
  return { pod: victim, time };
}

/** Waits until so many runs have ended; answers how many are missing, once none ends any more. */
async function waitForEnd({ database }: Place, wanted: number): Promise<number> {
  let ended = 0;
  let changed = monotonicMs();
  while (ended < wanted && monotonicMs() - changed < standstillMs) {
    const { rows } = await database.execute(
      'select count(*) as ended from lockkeeper.runs where ended_at is not null',
      [],
    );
    const now = Number(rows[0]?.ended);
    if (now > ended) changed = monotonicMs();
    ended = now;
    await delay(pollMs);
  }
  return Math.max(0, wanted - ended);
}

function print(limits: readonly LimitSeen[]): void {
  const line = (cells: (string | number)[]) =>
    `  ${String(cells[0]).padEnd(26)}${cells
      .slice(1)
      .map((cell) => String(cell).padStart(16))
      .join('')}`;
  console.log(line(['limit', 'capacity', 'most at once', 'keys', 'keys once full']));
  for (const { limit, capacity, most, keys, full } of limits)
    console.log(line([limit, capacity, most, keys, full]));
}
