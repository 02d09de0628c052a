/** Ours: an item is a run of one step, a limit is a few lines of configuration. */

import manifest from '../../package.json' with { type: 'json' };
import { createLockkeeper, job } from '../../src/index.ts';
import { quiet as log, submitAll, template } from '../lib/sql.ts';
import type { Item, Limit, System, Work } from '../types.ts';

/** More than anything here has at once. */
const neverFull = 1_000_000;
const pool = 'pool';
/** More than any figure has waiting for a pool. */
const admittedAhead = 10_000;

/** The limit as configuration. */
function configOf(limit: Limit): unknown {
  if (limit.kind === 'none') return {};
  if (limit.kind === 'tenants')
    return { concurrency: { runs: { tag_concurrency_limits: [perTenant(limit.capacity)] } } };
  if (limit.kind === 'three') {
    const runs = { max_concurrent_runs: neverFull, tag_concurrency_limits: [perTenant(neverFull)] };
    return { concurrency: { runs, pools: { limits: { [pool]: neverFull } } } };
  }
  if (limit.runs) return { concurrency: { runs: { max_concurrent_runs: limit.capacity } } };
  // Runs are admitted ahead of room, so that steps wait for the pool and not their runs.
  const pools = { limits: { [pool]: limit.capacity }, op_granularity_run_buffer: admittedAhead };
  return { concurrency: { pools } };
}

const perTenant = (limit: number) => ({ key: 'tenant', value: { applyLimitPerUniqueValue: true }, limit });

function jobOf({ limit, job: name = 'item' }: Work, handler: (item: Item) => Promise<void>) {
  const usesPool = limit.kind === 'three' || (limit.kind === 'key' && !limit.runs);
  return job(name, usesPool ? { pool } : {}, ({ input }) => handler(input as Item));
}

const submissionOf = (item: Item) => ({
  job: item.job ?? 'item',
  input: item,
  ...(item.tenant === undefined ? {} : { tags: { tenant: item.tenant } }),
});

/** Lockkeeper as its documentation shows it, no setting of its own. */
export const lockkeeper: System = {
  name: 'lockkeeper',
  version: manifest.version,
  setup:
    'A run of one step for each item; a pool of steps (`op_granularity_run_buffer` 10,000, so that steps wait and not their runs), or `max_concurrent_runs`, or a tag limit for each unique value. `submitMany` in batches of 1,000; `work({ room })` in each process, all else as it comes.',
  keeps: () => true,

  template,

  async prepare(url, work) {
    const lockkeeper = await createLockkeeper({
      connectionString: url,
      jobs: [jobOf(work, async () => {})],
      log,
    });
    try {
      await lockkeeper.applyConfig(configOf(work.limit));
      await lockkeeper.register();
    } finally {
      await lockkeeper.close();
    }
  },

  async open(url) {
    const lockkeeper = await createLockkeeper({ connectionString: url, log });
    const submit = (items: readonly Item[]) => {
      const submissions = items.map(submissionOf);
      return submitAll(lockkeeper, submissions.length, (no) => submissions[no]);
    };
    return { submit, close: () => lockkeeper.close() };
  },

  async work(url, work, room, handler) {
    const lockkeeper = await createLockkeeper({
      connectionString: url,
      wakesConnectionString: work.wakesUrl,
      jobs: [jobOf(work, handler)],
      log,
    });
    await lockkeeper.work({ room });
    return { stop: () => lockkeeper.close() };
  },
};

export const systems: readonly System[] = [lockkeeper];
