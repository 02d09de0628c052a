import { existsSync, readdirSync, readFileSync } from 'node:fs';
import { describe, expect, test } from 'vitest';
import { executorSchema, parseConfig } from '../src/config.ts';
import { executorLimitsOf, type LimitRow, limitsOf } from '../src/limits/compile.ts';

const rows = (config: unknown) => limitsOf(parseConfig(config));
const rowsOfConcurrency = (concurrency: unknown) => rows({ concurrency });
const executorOf = (job: string, block: unknown) => executorLimitsOf(job, executorSchema.parse(block));

/** A row with everything that is left out empty. */
const row = (given: Partial<LimitRow>) => ({
  per: [],
  replaces: [],
  part_of: [],
  look_buffer: null,
  ...given,
});

const FORMS = [
  { key: 'backfill', limit: 5 },
  { key: 'customer', value: 'acme', limit: 1 },
  { key: 'customer', value: { applyLimitPerUniqueValue: true }, limit: 2 },
];

describe('a configuration becomes rows:', () => {
  test('what is left out or unlimited has none', () => {
    expect(rows({})).toEqual([]);
    expect(rowsOfConcurrency({ runs: {}, pools: {}, executor: {}, branch_deployments: {} })).toEqual([]);
    const unlimited = [
      { key: 'a', limit: -1 },
      { key: 'b', limit: null },
    ];
    expect(
      rowsOfConcurrency({
        runs: { max_concurrent_runs: -1, tag_concurrency_limits: unlimited },
        pools: { default_limit: null },
        executor: { max_concurrent: null, tag_concurrency_limits: unlimited },
        branch_deployments: {
          max_concurrent_branch_deployment_runs: -1,
          max_concurrent_runs_per_branch_deployment: null,
          branch_deployment_tag_concurrency_limits: unlimited,
          pools: { warehouse: -1 },
        },
      }),
    ).toEqual([]);
  });

  test('the shared runs block counts each full deployment on its own', () => {
    const shared = { counts: 'run', part_of: ['runs block'] } as const;
    const match = { deployment_kind: 'full' };
    expect(rowsOfConcurrency({ runs: { max_concurrent_runs: 10, tag_concurrency_limits: FORMS } })).toEqual([
      row({ ...shared, name: 'runs', match, per: ['deployment'], capacity: 10 }),
      row({
        ...shared,
        name: 'runs.tag.backfill',
        match: { ...match, 'tag.backfill': true },
        per: ['deployment'],
        capacity: 5,
      }),
      row({
        ...shared,
        name: 'runs.tag.customer=acme',
        match: { ...match, 'tag.customer': 'acme' },
        per: ['deployment'],
        capacity: 1,
      }),
      row({
        ...shared,
        name: 'runs.tag.customer=*',
        match: { ...match, 'tag.customer': true },
        per: ['deployment', 'tag.customer'],
        capacity: 2,
      }),
    ]);
  });

  test("a deployment's own block replaces the shared one, even if it limits nothing", () => {
    const own = { counts: 'run' } as const;
    expect(
      rows({ deployments: { staging: { runs: { max_concurrent_runs: 2, tag_concurrency_limits: FORMS } } } }),
    ).toEqual([
      row({
        ...own,
        name: 'runs@staging',
        match: { deployment: 'staging' },
        capacity: 2,
        replaces: ['runs block'],
      }),
      row({
        ...own,
        name: 'runs@staging.tag.backfill',
        match: { deployment: 'staging', 'tag.backfill': true },
        capacity: 5,
      }),
      row({
        ...own,
        name: 'runs@staging.tag.customer=acme',
        match: { deployment: 'staging', 'tag.customer': 'acme' },
        capacity: 1,
      }),
      row({
        ...own,
        name: 'runs@staging.tag.customer=*',
        match: { deployment: 'staging', 'tag.customer': true },
        per: ['tag.customer'],
        capacity: 2,
      }),
    ]);
    expect(rows({ deployments: { 'my place': { runs: {} } } })).toEqual([
      row({
        ...own,
        name: 'runs@"my place"',
        match: { deployment: 'my place' },
        capacity: null,
        replaces: ['runs block'],
      }),
    ]);
    expect(rows({ deployments: { a: {}, b: null, c: { runs: null } } })).toEqual([]);
  });

  test('pools count steps, and admission looks ahead at them', () => {
    const counting = { counts: 'step', look_buffer: 1 } as const;
    expect(
      rowsOfConcurrency({
        pools: {
          default_limit: 3,
          op_granularity_run_buffer: 1,
          limits: { warehouse: 5, api: { limit: 20, scope: 'deployment' }, cache: -1, paused: 0 },
        },
      }),
    ).toEqual([
      row({
        ...counting,
        name: 'pool.warehouse',
        match: { pool: 'warehouse' },
        capacity: 5,
        replaces: ['pool.*'],
      }),
      row({
        ...counting,
        name: 'pool.api',
        match: { pool: 'api' },
        per: ['deployment'],
        capacity: 20,
        replaces: ['pool.*'],
      }),
      row({
        ...counting,
        name: 'pool.cache',
        match: { pool: 'cache' },
        capacity: null,
        replaces: ['pool.*'],
      }),
      row({ ...counting, name: 'pool.paused', match: { pool: 'paused' }, capacity: 0, replaces: ['pool.*'] }),
      row({ ...counting, name: 'pool.*', match: { pool: true }, per: ['pool'], capacity: 3 }),
    ]);
  });

  test('a scope for all pools may be left by one', () => {
    const limits = { a: 1, b: { limit: 1, scope: 'all' }, c: { limit: 1 } };
    const pools = { scope: 'deployment', default_limit: 1, limits };
    expect(rowsOfConcurrency({ pools }).map(({ name, per }) => [name, per])).toEqual([
      ['pool.a', ['deployment']],
      ['pool.b', []],
      ['pool.c', ['deployment']],
      ['pool.*', ['pool', 'deployment']],
    ]);
  });

  test('granularity run counts runs, of the share of branches too, and looks at nothing', () => {
    const pools = { granularity: 'run', default_limit: 1, op_granularity_run_buffer: 5, limits: { a: 1 } };
    const found = rowsOfConcurrency({ pools, branch_deployments: { pools: { a: 1 } } });
    expect(found.map(({ name, counts, look_buffer }) => [name, counts, look_buffer])).toEqual([
      ['pool.a', 'run', null],
      ['pool.*', 'run', null],
      ['branches.pool.a', 'run', null],
    ]);
  });

  test('the executor block counts the steps inside each run', () => {
    const inside = { counts: 'step', part_of: ['executor block'] } as const;
    const tag_concurrency_limits = [
      { key: 'size', limit: 3 },
      { key: 'size', value: 'big', limit: 1 },
      { key: 'size', value: { applyLimitPerUniqueValue: true }, limit: 2 },
    ];
    expect(rowsOfConcurrency({ executor: { max_concurrent: 4, tag_concurrency_limits } })).toEqual([
      row({
        counts: 'step',
        name: 'executor',
        match: { job: true },
        per: ['run'],
        capacity: 4,
        part_of: ['executor block', 'max_concurrent'],
      }),
      row({ ...inside, name: 'executor.tag.size', match: { 'tag.size': true }, per: ['run'], capacity: 3 }),
      row({
        ...inside,
        name: 'executor.tag.size=big',
        match: { 'tag.size': 'big' },
        per: ['run'],
        capacity: 1,
      }),
      row({
        ...inside,
        name: 'executor.tag.size=*',
        match: { 'tag.size': true },
        per: ['run', 'tag.size'],
        capacity: 2,
      }),
    ]);
  });

  test('branches are limited together, each, by tag and by pool', () => {
    const branch_deployments = {
      max_concurrent_branch_deployment_runs: 50,
      max_concurrent_runs_per_branch_deployment: 5,
      branch_deployment_tag_concurrency_limits: FORMS,
      pools: { warehouse: 1 },
    };
    const match = { deployment_kind: 'branch' };
    const counts = 'run';
    expect(rowsOfConcurrency({ branch_deployments })).toEqual([
      row({ counts, name: 'branches', match, capacity: 50 }),
      row({ counts, name: 'branches.each', match, per: ['deployment'], capacity: 5 }),
      row({ counts, name: 'branches.tag.backfill', match: { ...match, 'tag.backfill': true }, capacity: 5 }),
      row({
        counts,
        name: 'branches.tag.customer=acme',
        match: { ...match, 'tag.customer': 'acme' },
        capacity: 1,
      }),
      row({
        counts,
        name: 'branches.tag.customer=*',
        match: { ...match, 'tag.customer': true },
        per: ['tag.customer'],
        capacity: 2,
      }),
      row({
        counts: 'step',
        name: 'branches.pool.warehouse',
        match: { ...match, pool: 'warehouse' },
        capacity: 1,
        look_buffer: 0,
      }),
    ]);
  });

  test('a pause is a row', () => {
    const runs = { max_concurrent_runs: 0, tag_concurrency_limits: [{ key: 'a', limit: 0 }] };
    expect(rowsOfConcurrency({ runs, pools: { default_limit: 0 } }).map(({ capacity }) => capacity)).toEqual([
      0, 0, 0,
    ]);
  });

  test('the same one always becomes the same rows', () => {
    const config = parseConfig({
      concurrency: { runs: { max_concurrent_runs: 1 }, pools: { limits: { a: 1 } } },
    });
    expect(limitsOf(config)).toEqual(limitsOf(config));
  });

  const folder = new URL('./scenarios/', import.meta.url);
  test.skipIf(!existsSync(folder))('every scenario compiles, and no two limits have one name', () => {
    const files = readdirSync(folder).filter((file) => file.endsWith('.json'));
    for (const file of files) {
      const { config } = JSON.parse(readFileSync(new URL(file, folder), 'utf8'));
      const names = rows(config).map(({ name }) => name);
      expect(new Set(names).size, file).toBe(names.length);
    }
  });
});

describe("a job's own executor block", () => {
  test('replaces the shared one as a whole', () => {
    const tag_concurrency_limits = [
      { key: 'size', limit: 3 },
      { key: 'size', value: '*', limit: 1 },
      { key: 'size', value: { applyLimitPerUniqueValue: true }, limit: 2 },
    ];
    const own = { counts: 'step', per: ['run'] } as const;
    expect(executorOf('report', { max_concurrent: 2, tag_concurrency_limits })).toEqual([
      row({
        ...own,
        name: 'executor@report',
        match: { job: 'report' },
        capacity: 2,
        replaces: ['executor block'],
        part_of: ['max_concurrent'],
      }),
      row({
        ...own,
        name: 'executor@report.tag.size',
        match: { job: 'report', 'tag.size': true },
        capacity: 3,
      }),
      row({
        ...own,
        name: 'executor@report.tag.size="*"',
        match: { job: 'report', 'tag.size': '*' },
        capacity: 1,
      }),
      row({
        ...own,
        name: 'executor@report.tag.size=*',
        match: { job: 'report', 'tag.size': true },
        per: ['run', 'tag.size'],
        capacity: 2,
      }),
    ]);
  });

  test('is a row even if it limits nothing; no block is no row', () => {
    expect(executorOf('my job', {})).toMatchObject([{ name: 'executor@"my job"', capacity: null }]);
    expect(executorLimitsOf('j', undefined)).toEqual([]);
    expect(executorLimitsOf('j', null)).toEqual([]);
  });
});
