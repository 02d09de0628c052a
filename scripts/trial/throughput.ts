/** Part 2: 10,000 runs of one empty step under three limits, none of them full, in one process. */

import { createLockkeeper, job } from '../../src/index.ts';
import { delay, monotonicMs } from '../../src/wake.ts';
import { type Place, violationsIn } from './place.ts';
import { commits, reportedMs, topFunctions, trackFunctions } from './profile.ts';

const runs = 10_000;
const batch = 1_000;
const customers = 100;
const atLeast = 3_000;
const room = 1_000;

const config = {
  concurrency: {
    runs: {
      max_concurrent_runs: 2 * runs,
      tag_concurrency_limits: [{ key: 'customer', value: { applyLimitPerUniqueValue: true }, limit: runs }],
    },
    pools: { limits: { wide: 2 * runs } },
  },
};

/** Answers what is wrong, a line each. */
export async function throughput(place: Place): Promise<string[]> {
  const { database, url } = place;
  if (place.profile) await trackFunctions(database);
  let handled = 0;
  const empty = job('empty', { pool: 'wide' }, () => {
    handled += 1;
  });
  const lockkeeper = await createLockkeeper({ connectionString: url, jobs: [empty] });
  try {
    await lockkeeper.applyConfig(config);
    await lockkeeper.work({ room });
    const before = await commits(database);
    const started = monotonicMs();
    for (let no = 0; no < runs; no += batch) await lockkeeper.submitMany(submissions(no));
    const submitted = monotonicMs();
    while (handled < runs) await delay(2);
    while (await someLeft(place)) await delay(2);
    const ended = monotonicMs();
    const perSecond = runs / ((ended - started) / 1_000);
    console.log(
      `  ${runs} runs in ${seconds(ended - started)}, of these submitting ${seconds(submitted - started)}:` +
        ` ${Math.round(perSecond)} runs a second, to be at least ${atLeast}`,
    );
    await lockkeeper.close();
    await delay(reportedMs);
    console.log(`  about ${(await commits(database)) - before} transactions`);
    if (place.profile) for (const line of await topFunctions(database)) console.log(line);
    const slow = perSecond < atLeast ? [`${Math.round(perSecond)} runs a second are under ${atLeast}`] : [];
    return [...slow, ...(await violationsIn(database))];
  } finally {
    await lockkeeper.close();
  }
}

const seconds = (ms: number) => `${(ms / 1_000).toFixed(2)} s`;

function submissions(from: number): unknown[] {
  return Array.from({ length: batch }, (_, i) => ({
    job: 'empty',
    tags: { customer: `c${(from + i) % customers}` },
  }));
}

async function someLeft({ database }: Place): Promise<boolean> {
  const { rows } = await database.execute(
    'select exists (select from lockkeeper.runs where ended_at is null) as some',
    [],
  );
  return rows[0]?.some === true;
}
