import { describe, expect, test } from 'vitest';
import { ConfigError, checkDeployments, parseConfig, readConfig, settingsOf } from '../src/config.ts';
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

const everything = `
concurrency:
  runs:
    max_concurrent_runs: 10
    tag_concurrency_limits:
      - { key: backfill, limit: 5 }
      - { key: customer, value: acme, limit: 1 }
      - { key: customer, value: { applyLimitPerUniqueValue: true }, limit: 2 }
  pools:
    default_limit: 3
    granularity: step
    scope: all
    op_granularity_run_buffer: 0
    limits:
      warehouse: 5
      api: { limit: 20, scope: deployment }
  executor:
    max_concurrent: 4
    tag_concurrency_limits: []
  branch_deployments:
    max_concurrent_branch_deployment_runs: 50
    max_concurrent_runs_per_branch_deployment: 5
    branch_deployment_tag_concurrency_limits: []
    pools: { warehouse: 1 }
deployments:
  staging: { runs: { max_concurrent_runs: 2 } }
`;

describe('lockkeeper.yaml', () => {
  test('is read in its whole shape', () => {
    const { concurrency, deployments } = readConfig(everything);
    expect(concurrency?.runs).toEqual({
      max_concurrent_runs: 10,
      tag_concurrency_limits: [
        { key: 'backfill', limit: 5 },
        { key: 'customer', value: 'acme', limit: 1 },
        { key: 'customer', value: { applyLimitPerUniqueValue: true }, limit: 2 },
      ],
    });
    expect(concurrency?.pools).toMatchObject({ default_limit: 3, granularity: 'step', scope: 'all' });
    expect([...(concurrency?.pools?.limits ?? [])]).toEqual([
      ['warehouse', { limit: 5 }],
      ['api', { limit: 20, scope: 'deployment' }],
    ]);
    expect(concurrency?.executor).toEqual({ max_concurrent: 4, tag_concurrency_limits: [] });
    expect(concurrency?.branch_deployments?.max_concurrent_branch_deployment_runs).toBe(50);
    expect(concurrency?.branch_deployments?.pools).toEqual(new Map([['warehouse', 1]]));
    expect(deployments).toEqual(new Map([['staging', { runs: { max_concurrent_runs: 2 } }]]));
  });

  test.each([
    ['an empty file', ''],
    ['a file of comments', '# nothing yet\n'],
    ['an empty block', 'concurrency:\n'],
    [
      'empty blocks inside',
      'concurrency:\n  runs:\n  pools: {}\n  executor:\n  branch_deployments:\ndeployments:\n',
    ],
  ])('%s limits nothing', (_, yaml) => {
    expect(() => readConfig(yaml)).not.toThrow();
  });

  test('may share blocks by anchors and merges', () => {
    const { deployments } = readConfig(
      'concurrency: { runs: &runs { max_concurrent_runs: 3 } }\ndeployments: { a: { runs: { <<: *runs } } }',
    );
    expect(deployments?.get('a')?.runs?.max_concurrent_runs).toBe(3);
  });

  test('keeps the names of pools as they were written', () => {
    const { concurrency } = readConfig(
      'concurrency: { pools: { limits: { 010: 1, null: 2, true: 3, 1e3: 4 } } }',
    );
    expect([...(concurrency?.pools?.limits?.keys() ?? [])]).toEqual(['010', 'null', 'true', '1e3']);
  });

  test.each([
    ['bad syntax', 'a: [1', /^line 1, column 6: .*end with a \]$/],
    ['a name twice', 'concurrency:\n  runs: {}\n  runs: {}', /^line 3, column 3: the same name .* twice/],
    ['a tab as indent', 'concurrency:\n\truns: {}', /^line 2, column 1: .*[Tt]abs/],
    ['two documents', 'concurrency: {}\n---\nconcurrency: {}', /^line 2, column 1: a second document/],
    [
      'an unknown tag',
      'concurrency: { runs: { max_concurrent_runs: !env X } }',
      /^line 1.*!env; write the value itself/,
    ],
  ])('with %s is refused with the place', (_, yaml, message) => {
    expect(problems(() => readConfig(yaml))[0]).toMatch(message);
  });

  test('with an alias of nothing is refused', () => {
    expect(problems(() => readConfig('concurrency: *nothing'))[0]).toMatch(/^the file: .*alias.*nothing/);
  });

  test('with a bomb of aliases is refused', () => {
    const lines = [
      'a0: &a0 [x]',
      ...Array.from({ length: 30 }, (_, i) => `a${i + 1}: &a${i + 1} [*a${i}, *a${i}]`),
    ];
    expect(problems(() => readConfig(lines.join('\n')))[0]).toMatch(/^the file: .*alias/);
  });

  test('values that YAML takes for numbers or booleans must be quoted', () => {
    const read = (value: string) =>
      readConfig(
        `concurrency: { runs: { tag_concurrency_limits: [{ key: k, value: ${value}, limit: 1 }] } }`,
      );
    for (const value of ['5', '1.0', 'true', 'False', '0x1F', '1e3', '.inf']) {
      expect(problems(() => read(value))[0]).toMatch(
        /\[0\]\.value: .* allowed: a string; write it in quotes/,
      );
      expect(() => read(`"${value}"`)).not.toThrow();
    }
    expect(read('yes').concurrency?.runs?.tag_concurrency_limits?.[0]?.value).toBe('yes');
    expect(problems(() => readConfig('concurrency: { runs: { max_concurrent_runs: "5" } }'))[0]).toMatch(
      /max_concurrent_runs: "5" is not allowed; allowed: an integer/,
    );
  });
});

describe('all problems are told at once', () => {
  test('in one message that names every field', () => {
    const wrong = {
      run_queue: {},
      concurrency: { runs: { max_concurrent_runs: -2 }, executor: { max_concurrent: 0 } },
    };
    expect(() => parseConfig(wrong)).toThrow(
      /^The configuration: 3 problems\n {2}concurrency\.runs\.max_concurrent_runs: -2.*\n {2}concurrency\.executor.*\n {2}run_queue: /,
    );
    expect(() => parseConfig({ a: 1 })).toThrow(/^The configuration: a: no such setting/);
    expect(problems(() => parseConfig([]))).toEqual([
      'the configuration: [] is not allowed; allowed: an object with concurrency, deployments, retention_days, branch_deployment_days',
    ]);
  });
});

describe('deployments', () => {
  const existing = { default: 'full', staging: 'full', 'pr-1': 'branch' } as const;

  test('with a runs block must exist and be full', () => {
    const runs = { max_concurrent_runs: 1 };
    const config = parseConfig({
      deployments: { staging: { runs }, 'pr-1': { runs }, stagin: { runs }, toString: { runs } },
    });
    expect(problems(() => checkDeployments(config, { deployments: existing }))).toEqual([
      expect.stringMatching(
        /^deployments\.pr-1\.runs: "pr-1" is a branch deployment; .*`concurrency\.branch_deployments`/,
      ),
      expect.stringMatching(
        /^deployments\.stagin\.runs: no deployment is named "stagin"\. Did you mean "staging"\? Add it/,
      ),
      expect.stringMatching(/^deployments\.toString\.runs: no deployment is named "toString"\. Add it/),
    ]);
  });

  test('without one may be anything, since nothing is said of them', () => {
    const config = parseConfig({ deployments: { 'pr-1': {}, other: null, staging: { runs: null } } });
    expect(() => checkDeployments(config, { deployments: existing })).not.toThrow();
    expect(() => checkDeployments(parseConfig({}), { deployments: {} })).not.toThrow();
  });
});

describe('days', () => {
  test('what is left out is not said, and null is', () => {
    expect(settingsOf(readConfig(''))).toEqual({});
    const days = { retention_days: null, branch_deployment_days: 7 };
    expect(settingsOf(parseConfig(days))).toEqual(days);
  });

  test.each([0, -1, 1.5, 36_501, '30'])('%j is refused', (value) => {
    expect(problems(() => parseConfig({ retention_days: value }))).toEqual([
      `retention_days: ${JSON.stringify(value)} is not allowed; allowed: an integer from 1 to 36500, or null to keep them for ever`,
    ]);
  });
});
