/** A test file as a user of Lockkeeper writes one: `../src/…` stands for `lockkeeper` and `lockkeeper/testing`. */

import { afterAll, beforeEach, expect, test, vi } from 'vitest';
import { z } from 'zod';
import { job, type Lockkeeper, readConfig } from '../src/index.ts';
import { testLockkeeper } from '../src/testing/index.ts';

// The program under test: an import that is not to overload a warehouse, and what submits it.

const warehouse = { write: async (customer: string, rows: number) => `${customer}: ${rows}` };

const importJob = job('import', { input: z.object({ customer: z.string() }) })
  .step('fetch', { pool: 'api', retry: { maxAttempts: 5, backoffMs: 1_000 } }, async () => [1, 2, 3])
  .step('write', { after: ['fetch'], pool: 'warehouse' }, ({ input, outputs }) =>
    warehouse.write(input.customer, outputs.fetch.length),
  );

const limits = `
concurrency:
  runs: { tag_concurrency_limits: [{ key: customer, value: { applyLimitPerUniqueValue: true }, limit: 1 }] }
  pools: { limits: { warehouse: 2, api: 20 } }
`;

const importFor = (lockkeeper: Lockkeeper, customer: string) =>
  lockkeeper.submit(importJob, { customer }, { tags: { customer } });

// Its tests.

const kit = await testLockkeeper({ jobs: [importJob] });
beforeEach(async () => {
  await kit.reset();
  await kit.applyConfig(readConfig(limits));
});
afterAll(() => kit.close());

test('what was fetched is written', async () => {
  const run = await kit.submit(importJob, { customer: 'acme' });
  await kit.settle();
  expect((await kit.result(run)).outputs.write).toBe('acme: 3');
});

test('a customer has one import at a time, others go on', async () => {
  const held = [kit.hold(importJob, 'fetch'), kit.hold(importJob, 'fetch'), kit.hold(importJob, 'fetch')];
  for (const customer of ['acme', 'acme', 'globex']) await importFor(kit.lockkeeper, customer);
  await kit.settle();
  const running = held.filter((step) => step.running).map((step) => step.context.input.customer);
  expect(running).toEqual(['acme', 'globex']);
});

test('never more than two write at once', async () => {
  const held = Array.from({ length: 5 }, () => kit.hold(importJob, 'write'));
  const runs = [];
  for (const index of held.keys()) runs.push(await kit.submit(importJob, { customer: `c${index}` }));
  await kit.settle();
  for (let left = held; left.length > 0; left = left.slice(1)) {
    expect(left.filter((step) => step.running).length).toBe(Math.min(2, left.length));
    left[0]?.succeed('written');
    await kit.settle();
  }
  expect(await Promise.all(runs.map((run) => kit.stateOf(run)))).toEqual(Array(5).fill('succeeded'));
});

test('an API that is away for six seconds costs four attempts', async () => {
  const away = kit.now.getTime() + 6_000;
  const fetch = vi.fn(() => {
    if (kit.now.getTime() < away) throw new Error('503');
    return [1];
  });
  kit.handle(importJob, 'fetch', fetch);
  const run = await kit.submit(importJob, { customer: 'acme' });
  await kit.advance({ seconds: 10 });
  expect((await kit.result(run)).state).toBe('succeeded');
  expect(fetch).toHaveBeenCalledTimes(4); // after 0, 1, 3 and 7 seconds
});
