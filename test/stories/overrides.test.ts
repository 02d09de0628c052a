/** Limits set while things run: an override says who, why and until when; a pause starts nothing new; own limits stay. */

import { afterEach, expect, test } from 'vitest';
import { job } from '../../src/jobs.ts';
import { Limits } from '../../src/limits/limits.ts';
import { tellStory } from '../support/story.ts';

const story = await tellStory();
const limits = new Limits(story.database.execute, () => undefined);
const load = job('load', { pool: 'warehouse' }, story.handler);
const report = job('report', story.handler);
const warehouse = (limit: number) => ({ concurrency: { pools: { limits: { warehouse: limit } } } });
const ana = { by: 'ana', why: 'the warehouse is slow' };
const inSeconds = async (seconds: number) =>
  (await story.rows('select lockkeeper.now() + make_interval(secs => $1) as at', [seconds]))[0]?.at as Date;
const theLimit = async (name: string) => (await limits.list()).find((limit) => limit.name === name);

afterEach(async () => {
  const set = async () =>
    (await limits.list()).find((limit) => limit.source === 'user' || limit.override !== null);
  for (let next = await set(); next; next = await set())
    await (next.source === 'user' ? limits.drop(next.name) : limits.unset(next.name));
});

test('an override counts instead of the limit, survives apply, and is unset', async () => {
  await story.apply(warehouse(1));
  await story.work([load]);
  for (const run of ['r1', 'r2', 'r3']) await story.submit(run, load);
  await story.settle();
  expect(story.running()).toEqual(['r1.run']);

  await limits.override('pool.warehouse', 2, ana);
  await story.settle();
  expect(story.running()).toEqual(['r1.run', 'r2.run']);
  await story.apply(warehouse(3));
  await story.settle();
  expect(story.running()).toEqual(['r1.run', 'r2.run']);
  expect(await theLimit('pool.warehouse')).toMatchObject({
    capacity: 2,
    configured: 3,
    override: 2,
    override_by: 'ana',
    override_why: 'the warehouse is slow',
    override_until: null,
  });

  expect(await limits.unset('pool.warehouse')).toBe(true);
  expect(await limits.unset('pool.warehouse')).toBe(false);
  await story.settle();
  expect(story.running()).toEqual(['r1.run', 'r2.run', 'r3.run']);
});

test('an override stays also when the limit gets another grouping', async () => {
  await story.apply(warehouse(1));
  await limits.override('pool.warehouse', 2, ana);
  await story.apply({
    concurrency: { pools: { limits: { warehouse: { limit: 1, scope: 'deployment' } } } },
  });
  expect(await theLimit('pool.warehouse')).toMatchObject({
    per: ['deployment'],
    capacity: 2,
    override_by: 'ana',
  });
});

test('an override ends by itself; until then `why` tells who set it and why', async () => {
  await story.apply(warehouse(1));
  await story.work([load]);
  await limits.override('pool.warehouse', 0, { ...ana, until: await inSeconds(600) });
  await story.submit('r1', load);
  await story.settle();
  expect(await story.waitingFor('r1')).toEqual(['pool.warehouse']);
  expect((await story.why('r1'))[0]?.sentence).toMatch(
    /^pool.warehouse is paused. ana set 0: the warehouse is slow. It ends at \d{4}-.*Z\.$/,
  );

  await story.advance(601);
  expect(story.running()).toEqual(['r1.run']);
  expect(await theLimit('pool.warehouse')).toMatchObject({ override: null, override_by: null });
});

test('a limit that was unlimited can be overridden too: what waits is laned again', async () => {
  await story.apply({ concurrency: { pools: { default_limit: 1, limits: { warehouse: -1 } } } });
  await story.work([load]);
  await limits.override('pool.warehouse', 1, ana);
  for (const run of ['r1', 'r2']) await story.submit(run, load);
  await story.settle();
  expect(story.running()).toEqual(['r1.run']);
  expect(await story.inUse()).toEqual({ 'pool.warehouse': 1 });
  await limits.unset('pool.warehouse');
  await story.settle();
  expect(story.running()).toEqual(['r1.run', 'r2.run']);
});

test('a job is paused: what runs goes on, nothing new of it starts, others are not touched', async () => {
  const two = job('two')
    .step('a', story.handler)
    .step('b', { after: ['a'] }, story.handler);
  await story.work([two, report]);
  await story.submit('t1', two);
  await story.settle();
  expect(await limits.pause({ job: 'two' }, ana)).toBe('paused.job=two');
  await story.submit('t2', two);
  await story.submit('p1', report);
  await story.settle();
  expect(story.running()).toEqual(['t1.a', 'p1.run']);
  await story.finish('t1.a');
  expect(await story.waitingFor('t1.b')).toEqual(['paused.steps.job=two']);
  expect(await story.waitingFor('t2')).toEqual(['paused.job=two']);

  expect(await limits.resume({ job: 'two' })).toBe(true);
  expect(await limits.resume({ job: 'two' })).toBe(false);
  await story.settle();
  expect(story.running()).toEqual(['p1.run', 't1.b', 't2.a']);
});

test('everything is paused, a deployment is paused, and a pause ends by itself', async () => {
  await story.addDeployment('pr-7', 'branch');
  await story.work([report]);
  await limits.pause({ deployment: 'pr-7' }, ana);
  await limits.pause({}, { ...ana, until: await inSeconds(600) });
  await story.submit('p1', report);
  await story.submit('p2', report, { deployment: 'pr-7' });
  expect((await story.why('p1'))[0]?.sentence).toMatch(/^paused: it was paused. ana set 0: .* It ends at/);
  await story.settle();
  expect(story.running()).toEqual([]);
  expect(await story.waitingFor('p2')).toEqual(['paused', 'paused.deployment=pr-7']);

  await story.advance(601);
  expect(story.running()).toEqual(['p1.run']);
  expect((await limits.list()).map(({ name }) => name)).not.toContain('paused');
  await limits.resume({ deployment: 'pr-7' });
  await story.settle();
  expect(story.running()).toEqual(['p1.run', 'p2.run']);
});

test('a limit of the user’s own: at most one report of a customer, whatever is applied', async () => {
  const own = {
    name: 'one report a customer',
    counts: 'run',
    match: { job: 'report' },
    per: ['tag.customer'],
    capacity: 1,
  } as const;
  expect(await limits.set(own)).toBe('added');
  expect(await limits.set(own)).toBe('unchanged');
  await story.apply(warehouse(1));
  await story.work([report]);
  await story.submit('a1', report, { tags: { customer: 'acme' } });
  await story.submit('a2', report, { tags: { customer: 'acme' } });
  await story.submit('b1', report, { tags: { customer: 'blue' } });
  await story.submit('n1', report);
  await story.settle();
  expect(story.running()).toEqual(['a1.run', 'b1.run', 'n1.run']);
  expect(await story.waitingFor('a2')).toEqual(['one report a customer{acme}']);

  expect(await limits.set({ ...own, capacity: 2 })).toBe('changed');
  await story.settle();
  expect(story.running()).toContain('a2.run');
  expect(await limits.drop(own.name)).toBe(true);
  expect(await limits.drop(own.name)).toBe(false);
});

test.each([
  [
    'a name of the configuration’s',
    { name: 'pool.mine', counts: 'step', capacity: 1 },
    /name of the configuration/,
  ],
  ['no name', { counts: 'step', capacity: 1 }, /no name/],
  ['counts', { name: 'mine', counts: 'steps', capacity: 1 }, /counts of limit mine is "steps"/],
  ['an attribute', { name: 'mine', counts: 'step', match: { jbo: 'x' }, capacity: 1 }, /"jbo"/],
  ['no list', { name: 'mine', counts: 'step', per: 'run', capacity: 1 }, /per of limit mine is "run"/],
  ['an unknown field', { name: 'mine', counts: 'step', limit: 1 }, /"limit" is no field of a limit/],
  ['a capacity that varies', { name: 'mine', counts: 'step', capacity: 'tag.n' }, /grouped by run/],
  ['a capacity', { name: 'mine', counts: 'step', capacity: -3 }, /capacity of limit mine is -3/],
])('a limit with %s that is not allowed is refused and changes nothing', async (_, wrong, message) => {
  const before = await limits.list();
  await expect(limits.set(wrong as never)).rejects.toThrow(message);
  expect(await limits.list()).toEqual(before);
});

test('the capacity may come from a tag: each run says how many of its steps may run at once', async () => {
  const wide = job('wide')
    .step('a', { tags: { width: '2' } }, story.handler)
    .step('b', { tags: { width: '2' } }, story.handler)
    .step('c', { tags: { width: '2' } }, story.handler)
    .step('d', { tags: { width: 'many' } }, story.handler);
  await limits.set({
    name: 'width',
    counts: 'step',
    match: { 'tag.width': true },
    per: ['run', 'tag.width'],
    capacity: 'tag.width',
  });
  await story.work([wide]);
  await story.submit('r1', wide);
  await story.settle();
  // What is no number is no limit.
  expect(story.running()).toEqual(['r1.a', 'r1.b', 'r1.d']);
});

test('an override of a limit whose capacity is an attribute counts for all, also for those without a number', async () => {
  await limits.set({ name: 'n', counts: 'run', per: ['tag.n'], capacity: 'tag.n' });
  await story.work([report]);
  await story.submit('r1', report, { tags: { n: 'abc' } });
  await story.settle();
  await limits.override('n', 1, ana);
  await story.submit('r2', report, { tags: { n: 'abc' } });
  await story.settle();
  expect(story.running()).toEqual(['r1.run']);
  expect(await story.inUse()).toEqual({ 'n{abc}': 1 });
  expect(await story.rows('select * from lockkeeper.violations')).toEqual([]);
  await limits.unset('n');
  await story.settle();
  expect(story.running()).toEqual(['r1.run', 'r2.run']);
});

test('an override is refused without who and why, for no limit, for a time that is over', async () => {
  await story.apply(warehouse(1));
  await expect(limits.override('pool.warehose', 1, ana)).rejects.toThrow('no limit called "pool.warehose"');
  await expect(limits.override('pool.warehouse', 1, { by: '', why: 'x' })).rejects.toThrow('by is missing');
  await expect(limits.override('pool.warehouse', 1, { by: 'ana', why: '' })).rejects.toThrow(
    'why is missing',
  );
  await expect(limits.override('pool.warehouse', -1, ana)).rejects.toThrow('capacity is -1');
  const over = { ...ana, until: await inSeconds(-1) };
  await expect(limits.override('pool.warehouse', 1, over)).rejects.toThrow('which is over');
  await expect(limits.pause({ nothing: 'x' }, ana)).rejects.toThrow('"nothing"');
});

test('each pause has a name of its own', async () => {
  const names = [];
  for (const match of [
    { job: 'load' },
    { job: 'load.steps' },
    { 'tag.x': true },
    { 'tag.x': 'true' },
    { job: 'a.tag.x=b' },
    { job: 'a', 'tag.x': 'b' },
  ] as const)
    names.push(await limits.pause(match, ana));
  expect(new Set(names).size).toBe(6);
  await expect(limits.resume(5 as never)).rejects.toThrow('match is 5');
});

test('limits in each run whose capacity is a tag or the run’s own setting do not share a key between runs', async () => {
  const sized = job('sized')
    .step('a', { tags: { size: '1' } }, story.handler)
    .step('b', { tags: { size: '1' } }, story.handler);
  await limits.set({ name: 'mine', counts: 'step', per: ['run', 'tag.size'], capacity: 'tag.size' });
  await limits.set({ name: 'own', counts: 'step', per: ['run'], capacity: 'max_concurrent' });
  await limits.override('own', 1, ana);
  await story.work([sized]);
  for (const run of ['r1', 'r2', 'r3']) await story.submit(run, sized);
  await story.settle();
  expect(story.running()).toEqual(['r1.a', 'r2.a', 'r3.a']);
});

test('a plan says what apply would do, and does nothing', async () => {
  await story.apply(warehouse(1));
  expect(await limits.plan(warehouse(1))).toEqual([]);
  const next = { ...warehouse(2), retention_days: 7 };
  expect(await limits.plan(next)).toMatchObject([
    { name: 'pool.warehouse', change: 'changed', was: { capacity: 1 }, becomes: { capacity: 2 } },
    { name: 'retention_days', change: 'changed', was: 30, becomes: 7 },
  ]);
  expect(await theLimit('pool.warehouse')).toMatchObject({ capacity: 1 });
  expect((await limits.apply(next)).map(({ name }) => name)).toEqual(['pool.warehouse', 'retention_days']);
  expect(await limits.plan(next)).toEqual([]);
  expect(await limits.plan({})).toMatchObject([
    { name: 'pool.warehouse', change: 'removed', becomes: null },
    { name: 'retention_days', was: 7, becomes: 30 },
  ]);
});

test('only a limit added, removed, or of another match or grouping makes what waits be laned again', async () => {
  const stamp = async () => (await story.rows('select stamp from lockkeeper_data.configuration'))[0]?.stamp;
  await story.apply(warehouse(1));
  const first = await stamp();
  await story.apply(warehouse(5));
  await limits.override('pool.warehouse', 0, ana);
  await limits.unset('pool.warehouse');
  expect(await stamp()).toBe(first);
  await story.apply({ concurrency: { pools: { limits: { warehouse: 5, api: 1 } } } });
  expect(await stamp()).not.toBe(first);
});
