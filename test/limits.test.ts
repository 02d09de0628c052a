/** Limits and deployments: applied as a whole, counted at once, and refused in words. */

import { expect, test } from 'vitest';
import { transaction } from '../src/database.ts';
import { ConflictError, InvalidInputError, IsolationError } from '../src/errors.ts';
import { addDeployment, listKeys, listLimits } from '../src/limits/apply.ts';
import { openStage } from './support/stage.ts';

const stage = await openStage();
const load = await stage.register('load', { copy: { pool: 'warehouse' } });
const rowsOf = (limits: unknown) =>
  stage.rows('select * from lockkeeper.apply_limits($1)', [JSON.stringify(limits)]);
const configured = async () =>
  (await listLimits(stage.execute)).filter(({ source }) => source === 'configuration');

test('apply answers what was added, changed and removed; the same again changes nothing', async () => {
  const first = { concurrency: { runs: { max_concurrent_runs: 1 }, pools: { limits: { warehouse: 1 } } } };
  const second = { concurrency: { runs: { max_concurrent_runs: 2 } } };
  expect(await stage.apply(first)).toEqual([
    { name: 'runs', change: 'added' },
    { name: 'pool.warehouse', change: 'added' },
  ]);
  expect(await stage.apply(first)).toEqual([]);
  expect(await stage.apply(second)).toEqual([
    { name: 'pool.warehouse', change: 'removed' },
    { name: 'runs', change: 'changed' },
  ]);
  expect(await configured()).toMatchObject([{ name: 'runs', counts: 'run', capacity: 2 }]);
});

test('a configuration that is refused leaves the one before', async () => {
  await stage.apply({ concurrency: { runs: { max_concurrent_runs: 7 } } });
  await expect(stage.apply({ concurrency: { runs: { max_concurrent_runs: -2 } } })).rejects.toThrow(
    'concurrency.runs.max_concurrent_runs: -2 is not allowed',
  );
  await expect(stage.apply({ deployments: { nowhere: { runs: {} } } })).rejects.toThrow('nowhere');
  expect(await configured()).toMatchObject([{ name: 'runs', capacity: 7 }]);
});

test('a limit that appears counts what is live, and one that disappears stops', async () => {
  const lease = await stage.serve(load);
  await stage.submit(load, load);
  await stage.tick();
  await lease.claim(2);
  expect(await listKeys(stage.execute)).toEqual([]);
  await stage.apply({ concurrency: { pools: { limits: { warehouse: 1 } } } });
  expect(await listKeys(stage.execute)).toEqual([
    { key: 'pool.warehouse', limit: 'pool.warehouse', inUse: 2, asked: 0, capacity: 1 },
  ]);
  await stage.apply({});
  expect(await listKeys(stage.execute)).toEqual([]);
});

test.each([
  ['name', { counts: 'run' }, 'has no name'],
  ['counts', { name: 'x', counts: 'task' }, 'counts of limit x is "task", allowed are "run" and "step"'],
  ['counts', { name: 'x' }, 'counts of limit x is missing'],
  ['match', { name: 'x', counts: 'run', match: { color: 'red' } }, 'names the attribute "color"'],
  ['match', { name: 'x', counts: 'run', match: { job: 5 } }, 'match of limit x'],
  ['match', { name: 'x', counts: 'run', match: { run: '5' } }, 'names one run'],
  ['capacity', { name: 'x', counts: 'run', capacity: -1 }, 'capacity of limit x is -1'],
  ['capacity', { name: 'x', counts: 'run', capacity: 1.5 }, 'capacity of limit x is 1.5'],
])('a row with a wrong %s is refused: %j', async (_, limit, message) => {
  const refused = rowsOf([limit]);
  await expect(refused).rejects.toBeInstanceOf(InvalidInputError);
  await expect(refused).rejects.toThrow(message);
});

test('the same limit twice is refused', async () => {
  const limit = { name: 'x', counts: 'run', capacity: 1 };
  await expect(rowsOf([limit, limit])).rejects.toThrow('limit x is given twice');
});

test('more than 64 keys for one run are refused, at apply and at submit', async () => {
  const many = Array.from({ length: 65 }, (_, i) => ({
    name: `x${i}`,
    counts: 'run',
    match: { [`tag.t${i}`]: true },
    capacity: 1,
  }));
  const tags = Object.fromEntries(many.map((_, i) => [`t${i}`, '']));
  const submission = JSON.stringify({ job: 'load', tags });
  await stage.serve(load);
  await stage.rows('select lockkeeper.submit($1)', [submission]);
  await expect(rowsOf(many)).rejects.toBeInstanceOf(InvalidInputError);
  await stage.clear();
  await rowsOf(many);
  await expect(stage.rows('select lockkeeper.submit($1)', [submission])).rejects.toThrow('64');
});

test('in a transaction that is not READ COMMITTED nothing is locked', async () => {
  const applied = transaction(stage.database, async (query) => {
    await query('set transaction isolation level repeatable read');
    await query('select lockkeeper.apply_limits($1)', ['[]']);
  });
  await expect(applied).rejects.toBeInstanceOf(IsolationError);
  await expect(applied).rejects.toMatchObject({
    code: 'LK001',
    hint: expect.stringContaining('read committed'),
  });
});

test('a deployment is added once, and keeps its kind', async () => {
  await addDeployment(stage.execute, 'staging', 'full');
  await addDeployment(stage.execute, 'staging', 'full');
  const other = addDeployment(stage.execute, 'staging', 'branch');
  await expect(other).rejects.toBeInstanceOf(ConflictError);
  await expect(other).rejects.toMatchObject({ code: 'LK007' });
  await expect(stage.rows("select lockkeeper.add_deployment('x', 'tree')")).rejects.toThrow(
    'kind is "tree", allowed are "full" and "branch"',
  );
  expect(await stage.rows('select deployment, kind from lockkeeper.deployments order by 1')).toEqual([
    { deployment: 'default', kind: 'full' },
    { deployment: 'staging', kind: 'full' },
  ]);
});
