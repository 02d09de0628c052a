/** Part 3: a free run behind 100,000 runs that sleep at a full limit; from its submit to its handler's start. */

import { asleep } from '../../bench/lib/asleep.ts';
import { createLockkeeper, job, type Lockkeeper } from '../../src/index.ts';
import { delay, monotonicMs } from '../../src/wake.ts';
import type { Place } from './place.ts';
import { forgetFunctions, topFunctions, trackFunctions } from './profile.ts';

const blocked = 100_000;
const batch = 2_000;
const customers = 1_000;
const samples = 200;
const atMostMs = 50;
const lookEveryMs = 20;

const config = {
  concurrency: {
    runs: {
      max_concurrent_runs: 1_000,
      tag_concurrency_limits: [
        { key: 'gate', limit: 1 },
        { key: 'customer', value: { applyLimitPerUniqueValue: true }, limit: 100 },
      ],
    },
  },
};

/** Answers what is wrong, a line each. */
export async function latency(place: Place): Promise<string[]> {
  if (place.profile) await trackFunctions(place.database);
  const release = new AbortController();
  let onStart = () => {};
  const free = job('free', () => onStart());
  // The only holder of the gate: as long as it runs, the others sleep.
  const gated = job('gated', () => delay(600_000, release.signal));
  const lockkeeper = await createLockkeeper({ connectionString: place.url, jobs: [free, gated] });
  try {
    await lockkeeper.applyConfig(config);
    await lockkeeper.work({ room: 10 });
    const started = monotonicMs();
    for (let no = 0; no < blocked; no += batch) await lockkeeper.submitMany(submissions(no));
    const submitted = monotonicMs();
    await asleep(place, lookEveryMs);
    const slept = monotonicMs();
    console.log(
      `  ${blocked} runs submitted in ${((submitted - started) / 1_000).toFixed(1)} s,` +
        ` all asleep ${((slept - submitted) / 1_000).toFixed(1)} s later`,
    );
    if (place.profile) await forgetFunctions(place.database);
    const times: number[] = [];
    for (let i = 0; i < samples; i += 1) {
      times.push(await submitToStart(lockkeeper, (listener) => (onStart = listener)));
    }
    const wrong = [...report(times), ...(await wrongSleepers(place))];
    release.abort();
    await lockkeeper.close();
    if (place.profile) for (const line of await topFunctions(place.database)) console.log(line);
    return wrong;
  } finally {
    release.abort();
    await lockkeeper.close();
  }
}

async function submitToStart(lockkeeper: Lockkeeper, listen: (listener: () => void) => void) {
  const starting = new Promise<number>((resolve) => listen(() => resolve(monotonicMs())));
  const sent = monotonicMs();
  await lockkeeper.submit('free');
  return (await starting) - sent;
}

function report(times: readonly number[]): string[] {
  const sorted = times.toSorted((a, b) => a - b);
  const at = (share: number) => sorted[Math.ceil(share * sorted.length) - 1] ?? Number.NaN;
  const p99 = at(0.99);
  console.log(
    `  a free run starts after p50 ${at(0.5).toFixed(1)} ms, p99 ${p99.toFixed(1)} ms` +
      ` (to be at most ${atMostMs}), worst ${at(1).toFixed(1)} ms of ${times.length}`,
  );
  return p99 > atMostMs ? [`p99 of ${p99.toFixed(1)} ms is over ${atMostMs} ms`] : [];
}

function submissions(from: number): unknown[] {
  return Array.from({ length: batch }, (_, i) => ({
    job: 'gated',
    tags: { gate: 'shut', customer: `c${(from + i) % customers}` },
  }));
}

/** All but the one that holds the gate must still wait, or this measured something else. */
async function wrongSleepers({ database }: Place): Promise<string[]> {
  const { rows } = await database.execute(
    'select count(*) as queued from lockkeeper.runs where admitted_at is null and ended_at is null',
    [],
  );
  const queued = Number(rows[0]?.queued);
  return queued === blocked - 1 ? [] : [`${queued} runs are queued, not ${blocked - 1}`];
}
