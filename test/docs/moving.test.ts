/** docs/from-dagster.md and docs/from-pg-boss.md: the limits hold in what they moved to, and are used. */

import { beforeEach, describe, expect, test } from 'vitest';
import { readConfig } from '../../src/config.ts';
import { type AnyJob, job } from '../../src/jobs.ts';
import { limitsOf } from '../../src/limits/compile.ts';
import { tellStory } from '../support/story.ts';
import { blockNamed } from './blocks.ts';

const story = await tellStory();
let most: Map<string, number>;
beforeEach(() => {
  most = new Map();
});

/** Finishes what runs, one step after the other, until all is done; no key may ever be over its capacity. */
async function finishAll(): Promise<void> {
  for (;;) {
    for (const { key, in_use, capacity } of await story.rows(
      'select key, in_use, capacity from lockkeeper.keys',
    )) {
      const used = Number(in_use);
      if (capacity !== null) expect(used, String(key)).toBeLessThanOrEqual(Number(capacity));
      most.set(String(key), Math.max(used, most.get(String(key)) ?? 0));
    }
    const [step] = story.running();
    if (step === undefined) return;
    await story.finish(step);
  }
}

async function submit(
  count: number,
  what: AnyJob,
  tags: (i: number) => Record<string, string>,
): Promise<string[]> {
  const names = Array.from({ length: count }, (_, i) => `r${i + 1}`);
  for (const [i, name] of names.entries()) await story.submit(name, what, { tags: tags(i) });
  await story.settle();
  return names;
}

describe('from Dagster', () => {
  const load = job('load', {
    executor: { maxConcurrent: 4, tagConcurrencyLimits: [{ key: 'size', value: 'big', limit: 1 }] },
  })
    .step('extract', { tags: { size: 'big' } }, story.handler)
    .step('copy', { after: ['extract'], pool: 'warehouse' }, story.handler);

  test('the block of dagster.yaml pastes in, and the page adds the limit of the pool', () => {
    const before = limitsOf(readConfig(blockNamed('docs/from-dagster.md', 'before')));
    const after = limitsOf(readConfig(blockNamed('docs/from-dagster.md', 'after')));
    expect(after.filter(({ name }) => name !== 'pool.warehouse')).toEqual(before);
    expect(after.length).toBe(before.length + 1);
  });

  test('every limit holds, and is reached', async () => {
    await story.apply(readConfigAsData());
    await story.work([load]);
    const runs = await submit(24, load, (i) =>
      i % 4 === 0 ? { 'dagster/backfill': 'x' } : { customer: `c${i % 9}` },
    );
    await finishAll();
    for (const run of runs) expect(await story.stateOf(run)).toBe('succeeded');
    expect(most.get('runs{default}')).toBe(10);
    expect(most.get('runs.tag.dagster/backfill{default}')).toBe(3);
    expect(most.get('runs.tag.customer=*{default,c1}')).toBe(2);
    expect(most.get('pool.warehouse')).toBeLessThanOrEqual(5);
  });

  function readConfigAsData() {
    // As `lockkeeper limits apply` reads it: the page's text, with names and numbers as they stand there.
    const { concurrency } = readConfig(blockNamed('docs/from-dagster.md', 'after'));
    const pools = concurrency?.pools;
    const limits = Object.fromEntries([...(pools?.limits ?? [])]);
    return { concurrency: { ...concurrency, pools: { ...pools, limits } } };
  }
});

describe('from pg-boss', () => {
  test('two of each customer, and five of all at the pool', async () => {
    const load = job('load', { pool: 'warehouse' }, story.handler);
    await story.apply({
      concurrency: {
        runs: {
          tag_concurrency_limits: [{ key: 'customer', value: { applyLimitPerUniqueValue: true }, limit: 2 }],
        },
        pools: { limits: { warehouse: 5 } },
      },
    });
    await story.work([load]);
    const runs = await submit(40, load, (i) => ({ customer: i < 20 ? 'acme' : `c${i % 5}` }));
    await finishAll();
    for (const run of runs) expect(await story.stateOf(run)).toBe('succeeded');
    expect(most.get('runs.tag.customer=*{default,acme}')).toBe(2);
    expect(most.get('pool.warehouse')).toBe(5);
  });
});
