import { describe, expect, test } from 'vitest';
import { ConfigError, parseConfig, readConfig } from '../src/config.ts';
import { InvalidInputError } from '../src/errors.ts';

/** The problems of the error that the call throws, as `field: message`. */
function problems(call: () => unknown): string[] {
  try {
    call();
  } catch (error) {
    expect(error).toBeInstanceOf(ConfigError);
    expect(error).toBeInstanceOf(InvalidInputError);
    return (error as ConfigError).problems.map(({ field, message }) => `${field}: ${message}`);
  }
  throw new Error('nothing was refused');
}

/** The problems of `concurrency:` as data. */
const problemsOfConcurrency = (concurrency: unknown) => problems(() => parseConfig({ concurrency }));

describe('what Dagster writes', () => {
  test('in its concurrency block pastes in and works', () => {
    const { concurrency } = readConfig(`
concurrency:
  pools:
    granularity: op
    default_limit: 1
    op_granularity_run_buffer: 2
  runs:
    max_concurrent_runs: 15
    tag_concurrency_limits:
      - key: 'dagster/sensor_name'
        value: 'my_cool_sensor'
        limit: 5
      - key: 'dagster/backfill'
        value:
          applyLimitPerUniqueValue: true
        limit: 10
      - key: 'dagster/code_location'
        value:
        limit: 3
`);
    expect(concurrency?.pools).toEqual({
      granularity: 'step',
      default_limit: 1,
      op_granularity_run_buffer: 2,
    });
    expect(concurrency?.runs?.tag_concurrency_limits).toHaveLength(3);
    expect(concurrency?.runs?.tag_concurrency_limits?.[2]).toMatchObject({
      key: 'dagster/code_location',
      limit: 3,
    });
  });

  test.each([
    ['run_queue', '`concurrency.runs`'],
    ['run_coordinator', '`concurrency.runs`'],
    ['run_monitoring', 'max_losses'],
    ['run_retries', 'max_attempts'],
    ['run_launcher', 'leave it out'],
    ['default_op_concurrency_limit', '`concurrency.pools.default_limit`'],
    ['max_concurrent_runs', '`concurrency.runs.max_concurrent_runs`'],
    ['tag_concurrency_limits', '`concurrency.runs.tag_concurrency_limits`'],
    [
      'max_concurrent_branch_deployment_runs',
      '`concurrency.branch_deployments.max_concurrent_branch_deployment_runs`',
    ],
    ['runs', '`concurrency.runs`'],
    ['pools', '`concurrency.pools`'],
    ['executor', '`concurrency.executor`'],
    ['execution', '`concurrency.executor`'],
    ['telemetry', 'leave it out'],
    ['storage', 'leave it out'],
  ])('at the top: %s is an error that says what to write', (name, instead) => {
    const [problem] = problems(() => parseConfig({ [name]: {} }));
    expect(problem).toMatch(new RegExp(`^${name}: `));
    expect(problem).toContain(instead);
  });

  test.each([
    ['default_op_concurrency_limit', {}, '`concurrency.pools.default_limit`'],
    ['max_concurrent_runs', {}, '`concurrency.runs.max_concurrent_runs`'],
    ['tag_concurrency_limits', {}, '`concurrency.executor.tag_concurrency_limits`'],
    ['deployments', {}, 'without indent'],
    ['runs.dequeue_interval_seconds', {}, 'leave it out'],
    ['runs.block_op_concurrency_limited_runs', {}, '`concurrency.pools.op_granularity_run_buffer`'],
    ['runs.max_concurrent', 4, 'write `max_concurrent_runs`'],
    ['runs.default_limit', 4, '`concurrency.pools.default_limit`'],
    ['pools.default_op_limit', 4, '`concurrency.pools.default_limit`'],
    ['pools.op_concurrency_slot_buffer', 4, '`concurrency.pools.op_granularity_run_buffer`'],
    ['pools.warehouse', 4, '`concurrency.pools.limits`'],
    ['pools.tag_concurrency_limits', [], '`concurrency.runs.tag_concurrency_limits`'],
    ['executor.max_concurrent_runs', 4, 'write `max_concurrent`'],
    ['executor.multiprocess', {}, 'directly under `concurrency.executor`'],
    ['branch_deployments.max_concurrent_runs', 4, 'max_concurrent_runs_per_branch_deployment'],
    ['branch_deployments.tag_concurrency_limits', [], 'branch_deployment_tag_concurrency_limits'],
  ])('inside concurrency: %s is an error that says what to write', (path, value, instead) => {
    const inner = path.split('.').reduceRight<unknown>((below, name) => ({ [name]: below }), value);
    const [problem] = problemsOfConcurrency(inner);
    expect(problem).toMatch(new RegExp(`^concurrency\\.${path.replaceAll('.', '\\.')}: `));
    expect(problem).toContain(instead);
  });
});

describe('unknown settings', () => {
  test.each([
    ['concurency', 'concurrency', { concurency: {} }],
    ['concurrency.run', 'runs', { concurrency: { run: {} } }],
    [
      'concurrency.runs.maxConcurrentRuns',
      'max_concurrent_runs',
      { concurrency: { runs: { maxConcurrentRuns: 1 } } },
    ],
    ['concurrency.pools.defaultLimit', 'default_limit', { concurrency: { pools: { defaultLimit: 1 } } }],
    [
      'concurrency.pools.limits.api.limits',
      'limit',
      { concurrency: { pools: { limits: { api: { limits: 1 } } } } },
    ],
    ['deployments.a.run', 'runs', { deployments: { a: { run: {} } } }],
  ])('%s: the nearest name is suggested', (field, nearest, value) => {
    expect(problems(() => parseConfig(value))).toEqual([
      expect.stringContaining(`${field}: no such setting. Did you mean \`${nearest}\`? Allowed here: `),
    ]);
  });

  test('where nothing is near, the allowed names are listed', () => {
    expect(problems(() => parseConfig({ flavour: 1 }))).toEqual([
      'flavour: no such setting. Allowed here: concurrency, deployments, retention_days, branch_deployment_days',
    ]);
  });

  test('each is a problem of its own', () => {
    expect(
      problems(() => parseConfig({ one: 1, two: 2, 'odd name\n': 3 })).map((p) => p.split(':')[0]),
    ).toEqual(['one', 'two', '["odd name\\n"]']);
  });

  test('a deployment has nothing but runs', () => {
    const own = { concurrency: {}, pools: {}, executor: {}, max_concurrent_runs: 1, kind: 'full' };
    const found = problems(() => parseConfig({ deployments: { a: own } }));
    expect(found.map((problem) => problem.split(':')[0])).toEqual(
      Object.keys(own).map((name) => `deployments.a.${name}`),
    );
    expect(found[1]).toContain('`scope: deployment`');
    expect(problems(() => parseConfig({ deployments: { a: 'full' } }))[0]).toMatch(
      /^deployments\.a: "full" is not/,
    );
  });

  test('names from the prototype do nothing but be refused', () => {
    const value = JSON.parse(
      '{"__proto__":{"deployments":1},"concurrency":{"__proto__":{"runs":1},"constructor":1}}',
    );
    expect(problems(() => parseConfig(value)).map((problem) => problem.split(':')[0])).toEqual([
      'concurrency.__proto__',
      'concurrency.constructor',
      '__proto__',
    ]);
    expect(({} as Record<string, unknown>).deployments).toBeUndefined();
  });

  test('names from the prototype are good names of pools', () => {
    const limits = JSON.parse('{"__proto__":1,"constructor":2}');
    const { concurrency } = parseConfig({
      concurrency: { pools: { limits }, branch_deployments: { pools: limits } },
    });
    expect([...(concurrency?.pools?.limits?.keys() ?? [])]).toEqual(['__proto__', 'constructor']);
    expect(concurrency?.branch_deployments?.pools?.get('__proto__')).toBe(1);
  });
});
