import { describe, expect, test } from 'vitest';
import { ConfigError, parseConfig } from '../src/config.ts';
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

const LIMITS = [
  'runs.max_concurrent_runs',
  'pools.default_limit',
  'pools.limits.warehouse',
  'executor.max_concurrent',
  'branch_deployments.max_concurrent_branch_deployment_runs',
  'branch_deployments.max_concurrent_runs_per_branch_deployment',
  'branch_deployments.pools.warehouse',
];

const at = (path: string, value: unknown) =>
  path.split('.').reduceRight<unknown>((below, name) => ({ [name]: below }), value);

describe.each(LIMITS)('the limit %s', (path) => {
  test('is an integer; -1 and null are unlimited', () => {
    for (const value of [1, 2_147_483_647, -1, null]) {
      expect(() => parseConfig({ concurrency: at(path, value) })).not.toThrow();
    }
  });

  test.each([[-2], [1.5], [2 ** 31], [1e20], [Number.NaN], ['5'], [true], [[]]])('is not %j', (value) => {
    expect(problemsOfConcurrency(at(path, value))).toEqual([
      expect.stringMatching(
        new RegExp(
          `^concurrency\\.${path.replaceAll('.', '\\.')}: .* not allowed; allowed: an integer from [01] to`,
        ),
      ),
    ]);
  });
});

describe('limits', () => {
  test('unlimited comes out as null, and left out is not there', () => {
    const read = (value: unknown) =>
      parseConfig({ concurrency: { runs: { max_concurrent_runs: value } } }).concurrency?.runs
        ?.max_concurrent_runs;
    expect([read(-1), read(null), read(undefined), read(0), read(-0)]).toEqual([null, null, undefined, 0, 0]);
  });

  test('of a pool may have a scope, or be left out', () => {
    const limits = {
      a: {},
      b: { limit: null },
      c: { scope: 'deployment' },
      d: null,
      e: { limit: 0, scope: null },
    };
    expect(() => parseConfig({ concurrency: { pools: { limits } } })).not.toThrow();
    expect(problemsOfConcurrency({ pools: { limits: { a: { scope: 'each' } } } })).toEqual([
      'concurrency.pools.limits.a.scope: "each" is not allowed; allowed: all or deployment',
    ]);
  });

  test('of a tag must be there, and may be null', () => {
    const tagged = (entry: object) => ({ runs: { tag_concurrency_limits: [{ key: 'a', ...entry }] } });
    expect(problemsOfConcurrency(tagged({}))[0]).toMatch(
      /^concurrency\.runs\.tag_concurrency_limits\[0\]\.limit: missing/,
    );
    expect(() => parseConfig({ concurrency: tagged({ limit: null }) })).not.toThrow();
    expect(() => parseConfig({ concurrency: tagged({ limit: 0 }) })).not.toThrow();
  });

  test('of 0 inside a run are refused: it could never end', () => {
    const executor = {
      max_concurrent: 0,
      tag_concurrency_limits: [
        { key: 'a', limit: 0 },
        { key: 'a', value: 'x', limit: 0 },
        { key: 'a', value: { applyLimitPerUniqueValue: true }, limit: 0 },
      ],
    };
    const found = problemsOfConcurrency({ executor });
    expect(found).toHaveLength(4);
    for (const problem of found)
      expect(problem).toMatch(/^concurrency\.executor\..*: 0 is not.*leave it out/);
    expect(() => parseConfig({ concurrency: { executor: { max_concurrent: -1 } } })).not.toThrow();
  });

  test('of the buffer are 0 or more', () => {
    expect(problemsOfConcurrency({ pools: { op_granularity_run_buffer: -1 } })[0]).toMatch(
      /: -1 is not allowed/,
    );
    expect(problemsOfConcurrency({ pools: { op_granularity_run_buffer: 0.5 } })[0]).toMatch(
      /: 0\.5 is not allowed/,
    );
  });

  test.each([
    [10, 11, true],
    [10, 10, false],
    [0, 5, false],
    [-1, 5, false],
    [null, 5, false],
    [undefined, 5, false],
    [10, -1, false],
    [10, null, false],
    [10, undefined, false],
    [10, 0, false],
  ])('of all branches %s and of each %s: refused %s', (total, each, refused) => {
    const branch_deployments = {
      max_concurrent_branch_deployment_runs: total,
      max_concurrent_runs_per_branch_deployment: each,
    };
    const parse = () => parseConfig({ concurrency: { branch_deployments } });
    if (!refused) return expect(parse).not.toThrow();
    expect(problems(parse)).toEqual([
      expect.stringMatching(
        /max_concurrent_runs_per_branch_deployment: 11 is above 10, .*; lower this one or raise that/,
      ),
    ]);
  });

  test.each([
    ['granularity', 'ops', 'step (or op, which is the same) or run'],
    ['scope', 'each', 'all or deployment'],
    ['limits', [], 'pool names'],
    ['limits', 5, 'pool names'],
  ])('pools.%s is not %j', (name, value, allowed) => {
    const [problem] = problemsOfConcurrency({ pools: { [name]: value } });
    expect(problem).toContain(`concurrency.pools.${name}: `);
    expect(problem).toContain(allowed);
  });
});

describe('tag limits', () => {
  const PLACES = [
    'runs.tag_concurrency_limits',
    'executor.tag_concurrency_limits',
    'branch_deployments.branch_deployment_tag_concurrency_limits',
  ];
  const each = { applyLimitPerUniqueValue: true };
  const key = { applyLimitPerUniqueValue: false };

  test.each(PLACES)('%s may not have the same limit twice', (path) => {
    const limits = [
      { key: 'a', limit: 1 },
      { key: 'a', value: 'x', limit: 1 },
      { key: 'a', value: each, limit: 1 },
      { key: 'b', value: each, limit: 1 },
      { key: 'a', value: 'x', limit: 2 },
      { key: 'a', value: key, limit: 1 },
      { key: 'a', value: each, limit: null },
      { key: 'a', value: null, limit: 1 },
    ];
    expect(problemsOfConcurrency(at(path, limits))).toEqual([
      `concurrency.${path}[4]: the limit with key "a" and value "x" stands here twice, first as number 2; keep one of them`,
      expect.stringContaining(
        `[5]: the limit with key "a" and no value stands here twice, first as number 1`,
      ),
      expect.stringContaining(`[6]: the limit with key "a" and applyLimitPerUniqueValue stands here twice`),
      expect.stringContaining(
        `[7]: the limit with key "a" and no value stands here twice, first as number 1`,
      ),
    ]);
    expect(() => parseConfig({ concurrency: at(path, limits.slice(0, 4)) })).not.toThrow();
  });

  test('a limit twice is found beside other problems', () => {
    const limits = [{ key: 'a', limit: -9 }, { key: 'a', limit: 1 }, 5, null, { limit: 1 }];
    expect(
      problemsOfConcurrency({ runs: { tag_concurrency_limits: limits } }).map((p) => p.split(':')[0]),
    ).toEqual([
      'concurrency.runs.tag_concurrency_limits[0].limit',
      'concurrency.runs.tag_concurrency_limits[2]',
      'concurrency.runs.tag_concurrency_limits[3]',
      'concurrency.runs.tag_concurrency_limits[4].key',
      'concurrency.runs.tag_concurrency_limits[1]',
    ]);
  });

  test('null is an empty list, and applyLimitPerUniqueValue: false the form with the key alone', () => {
    for (const path of PLACES) expect(() => parseConfig({ concurrency: at(path, null) })).not.toThrow();
    const limits = [{ key: 'a', value: key, limit: 1 }];
    const { concurrency } = parseConfig({ concurrency: { runs: { tag_concurrency_limits: limits } } });
    expect(concurrency?.runs?.tag_concurrency_limits?.[0]?.value).toBeUndefined();
  });

  test.each([
    ['a key with a space', { key: 'a b', limit: 1 }, '[0].key: "a b" is not allowed as a tag key'],
    ['an empty key', { key: '', limit: 1 }, '[0].key: "" is not allowed as a tag key'],
    [
      'a key with a line break at its end',
      { key: 'a\n', limit: 1 },
      '[0].key: "a\\n" is not allowed as a tag key',
    ],
    ['a key that is a number', { key: 5, limit: 1 }, '[0].key: 5 is not allowed'],
    ['no key', { limit: 1 }, '[0].key: missing'],
    ['NUL in the value', { key: 'a', value: 'x\0', limit: 1 }, '[0].value: contains NUL'],
    [
      'half a character in the value',
      { key: 'a', value: '\udc00', limit: 1 },
      '[0].value: contains NUL or half',
    ],
    [
      'a list as value',
      { key: 'a', value: ['x'], limit: 1 },
      '[0].value: ["x"] is not allowed; allowed: a string',
    ],
    ['a value of no form', { key: 'a', value: {}, limit: 1 }, '[0].value.applyLimitPerUniqueValue: missing'],
    [
      'a form in words',
      { key: 'a', value: { applyLimitPerUniqueValue: 'yes' }, limit: 1 },
      'allowed: true or false',
    ],
    ['a form misspelled', { key: 'a', value: { ...each, x: 1 }, limit: 1 }, '[0].value.x: no such setting'],
    [
      'a setting misspelled',
      { key: 'a', values: 'x', limit: 1 },
      '[0].values: no such setting. Did you mean `value`',
    ],
  ])('with %s are refused', (_, entry, message) => {
    expect(problemsOfConcurrency({ runs: { tag_concurrency_limits: [entry] } })[0]).toContain(message);
  });

  test('may have any text as value', () => {
    for (const value of ['', '*', 'a "b" {c}', '😀', '\n']) {
      const limits = [{ key: 'a', value, limit: 1 }];
      expect(() => parseConfig({ concurrency: { runs: { tag_concurrency_limits: limits } } })).not.toThrow();
    }
  });

  test('are a list', () => {
    expect(problemsOfConcurrency({ runs: { tag_concurrency_limits: { key: 'a', limit: 1 } } })).toEqual([
      expect.stringMatching(/tag_concurrency_limits: .* not allowed; allowed: a list of tag limits/),
    ]);
  });

  test('a deployment has rules of its own for the same tags', () => {
    const runs = { tag_concurrency_limits: [{ key: 'a', limit: 1 }] };
    expect(() => parseConfig({ concurrency: { runs }, deployments: { staging: { runs } } })).not.toThrow();
    expect(
      problems(() => parseConfig({ deployments: { 'pr-1': { runs: { max_concurrent_runs: -2 } } } })),
    ).toEqual([expect.stringContaining('deployments.pr-1.runs.max_concurrent_runs: -2 is not allowed')]);
  });
});

describe('names of pools', () => {
  test.each(['a b', '', 'ä', 'a*', 'a{b}', 'a\n', 'a=b', 'a@b'])('%j is refused', (pool) => {
    for (const block of [
      { pools: { limits: { [pool]: 1 } } },
      { branch_deployments: { pools: { [pool]: 1 } } },
    ]) {
      expect(problemsOfConcurrency(block)).toEqual([
        expect.stringContaining(
          `${JSON.stringify(pool)} is not allowed as a pool name; allowed: letters, digits and _ . / : -`,
        ),
      ]);
    }
  });

  test('all other characters of names are allowed', () => {
    const { concurrency } = parseConfig({ concurrency: { pools: { limits: { 'aZ09_./:-': 1 } } } });
    expect(concurrency?.pools?.limits?.has('aZ09_./:-')).toBe(true);
  });
});
