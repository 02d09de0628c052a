/** Pools: a shared resource, such as a warehouse, has slots; steps of all runs and jobs that use it share them. */

import { expect, test } from 'vitest';
import { job } from '../../src/jobs.ts';
import { tellStory } from '../support/story.ts';

const story = await tellStory();
const load = job('load')
  .step('extract', story.handler)
  .step('copy', { after: ['extract'], pool: 'warehouse' }, story.handler);
const report = job('report').step('query', { pool: 'warehouse' }, story.handler);
const pools = (settings: object) => ({ concurrency: { pools: settings } });

test('a pool counts steps, across runs and jobs', async () => {
  await story.apply(pools({ limits: { warehouse: 1 } }));
  await story.work([load, report]);
  await story.submit('r1', load);
  await story.submit('r2', load);
  await story.settle();
  expect(story.running()).toEqual(['r1.extract', 'r2.extract']);

  await story.finish('r1.extract', 'r2.extract');
  expect(story.running()).toEqual(['r1.copy']);
  expect(await story.waitingFor('r2.copy')).toEqual(['pool.warehouse']);
  const [reason] = await story.why('r2');
  expect(reason).toMatchObject({ step: 'copy', key: 'pool.warehouse', inUse: 1, capacity: 1 });
  expect(reason?.holders).toMatchObject([{ run_id: story.idOf('r1'), step: 'copy', worker: 'w1' }]);

  await story.finish('r1.copy');
  expect(story.running()).toEqual(['r2.copy']);
});

test('a limit of 0 pauses the pool, and only what uses it', async () => {
  await story.apply(pools({ limits: { warehouse: 0 } }));
  await story.work([load, report]);
  await story.submit('r1', load);
  await story.submit('r2', report);
  await story.settle();
  expect(story.running()).toEqual(['r1.extract']);
  expect(await story.waitingFor('r2')).toEqual(['pool.warehouse']);
});

test('the default gives each pool without a limit of its own so many slots', async () => {
  const copy = job('copy', { pool: 'files' }, story.handler);
  await story.apply(pools({ default_limit: 1, limits: { warehouse: 2 }, op_granularity_run_buffer: 9 }));
  await story.work([report, copy]);
  for (const run of ['r1', 'r2', 'r3']) await story.submit(run, report);
  for (const run of ['c1', 'c2']) await story.submit(run, copy);
  await story.settle();
  expect(story.running()).toEqual(['r1.query', 'r2.query', 'c1.run']);
  expect(await story.waitingFor('c2.run')).toEqual(['pool.*{files}']);
  expect(await story.inUse()).toEqual({ 'pool.warehouse': 2, 'pool.*{files}': 1 });
});

test('a step may use several slots, of several pools: it takes all of them or none', async () => {
  const heavy = job('heavy', { pool: { warehouse: 2, api: 1 } }, story.handler);
  const light = job('light', { pool: 'api' }, story.handler);
  await story.apply(pools({ limits: { warehouse: 3, api: 2 }, op_granularity_run_buffer: 9 }));
  await story.work([heavy, light, report]);
  await story.submit('h1', heavy);
  await story.submit('h2', heavy);
  await story.submit('l1', light);
  await story.submit('q1', report);
  await story.settle();
  // h2 would get the api's second slot, but not two of the warehouse: it holds neither, and l1 and q1 go by.
  expect(story.running()).toEqual(['h1.run', 'l1.run', 'q1.query']);
  expect(await story.waitingFor('h2.run')).toEqual(['pool.api', 'pool.warehouse']);

  await story.finish('h1.run');
  expect(story.running()).toEqual(['l1.run', 'q1.query', 'h2.run']);
});

test('with scope deployment, each deployment has slots of its own', async () => {
  await story.apply(pools({ limits: { warehouse: { limit: 1, scope: 'deployment' } } }));
  await story.addDeployment('staging', 'full');
  await story.work([report]);
  await story.submit('r1', report);
  await story.submit('r2', report, { deployment: 'staging' });
  await story.settle();
  expect(await story.inUse()).toEqual({ 'pool.warehouse{default}': 1, 'pool.warehouse{staging}': 1 });
});
