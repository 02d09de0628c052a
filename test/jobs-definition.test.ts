import { describe, expect, test } from 'vitest';
import { InvalidInputError } from '../src/errors.ts';
import { definitionFrom, definitionOf, type HandlerContext, job, jobFromDefinition } from '../src/jobs.ts';
import { ProblemsError } from '../src/schema.ts';

const nothing = () => {};

/** The problems of the error that the call throws, as `field: message`. */
function problems(call: () => unknown): string[] {
  try {
    call();
  } catch (error) {
    expect(error).toBeInstanceOf(ProblemsError);
    expect(error).toBeInstanceOf(InvalidInputError);
    return (error as ProblemsError).problems.map(({ field, message }) => `${field}: ${message}`);
  }
  throw new Error('nothing was refused');
}

describe('a job given as data', () => {
  test('has its places in the order of its steps, and after may name a later one', () => {
    const { steps } = definitionFrom('j', { steps: { last: { after: ['first'] }, first: { timeout: 600 } } });
    expect(steps.map(({ name, after, timeout_ms }) => [name, after, timeout_ms])).toEqual([
      ['last', ['first'], null],
      ['first', [], 600_000],
    ]);
  });

  test('means the same as the one written in TypeScript', () => {
    const data = {
      executor: { max_concurrent: 2 },
      steps: {
        a: { pool: 'db' },
        b: { after: ['a'], max_attempts: 3, max_losses: 0, timeout: 5, tags: { k: 'v' } },
      },
    };
    const built = job('j', { executor: { maxConcurrent: 2 } })
      .step('a', { pool: { db: 1 } }, nothing)
      .step(
        'b',
        { after: ['a'], retry: { maxAttempts: 3 }, maxLosses: 0, timeoutSeconds: 5, tags: { k: 'v' } },
        nothing,
      );
    expect(definitionFrom('j', data)).toEqual(definitionOf(built));
  });

  test('is worked by one handler for all steps', () => {
    const played = jobFromDefinition('j', { steps: { a: {}, b: { after: ['a'] } } }, ({ step }) => step);
    expect(played.handlerOf('b')?.({ step: 'b' } as HandlerContext)).toBe('b');
    expect(definitionOf(played)).toEqual(definitionFrom('j', { steps: { a: {}, b: { after: ['a'] } } }));
  });

  test('counts a step that is named twice in after once', () => {
    expect(definitionFrom('j', { steps: { a: {}, b: { after: ['a', 'a'] } } }).steps[1]?.after).toEqual([
      'a',
    ]);
  });

  test('may have names from the prototype', () => {
    const value = JSON.parse(
      '{"steps":{"__proto__":{"tags":{"__proto__":"x"},"pool":{"__proto__":2}},"toString":{}}}',
    );
    const { steps } = definitionFrom('constructor', value);
    expect(steps.map(({ name }) => name)).toEqual(['__proto__', 'toString']);
    expect(JSON.stringify(steps[0])).toContain('"tags":{"__proto__":"x"}');
    expect(JSON.stringify(steps[0])).toContain('"pools":{"__proto__":2}');
    expect(({} as Record<string, unknown>).x).toBeUndefined();
  });

  test.each([
    [
      'an unknown step',
      { a: {}, b: { after: ['A1'] } },
      'steps.b.after[0]: no step of this job is named "A1". Did',
    ],
    [
      'itself',
      { a: { after: ['a'] } },
      'steps.a.after: the steps wait for each other in a circle: "a" after "a"',
    ],
    [
      'a circle that others wait for',
      { z: { after: ['a'] }, a: { after: ['b', 's'] }, b: { after: ['c'] }, c: { after: ['a'] }, s: {} },
      'steps.a.after: the steps wait for each other in a circle: "a" after "b" after "c" after "a"',
    ],
  ])('refuses a step that comes after %s', (_, steps, message) => {
    expect(problems(() => definitionFrom('j', { steps }))[0]).toContain(message);
  });

  test.each([
    ['steps: missing', {}],
    ['steps: [] is not allowed', { steps: [] }],
    ['steps.a: null is not allowed', { steps: { a: null } }],
    ['step: no such setting. Did you mean `steps`?', { step: {}, steps: { a: {} } }],
    ['executor.max_concurrent: 0 is not allowed', { executor: { max_concurrent: 0 }, steps: { a: {} } }],
    [
      'steps.a.max_attempt: no such setting. Did you mean `max_attempts`?',
      { steps: { a: { max_attempt: 1 } } },
    ],
    ['steps.a.priority: 2147483648 is not allowed', { steps: { a: { priority: 2 ** 31 } } }],
    ['steps.a.pool.p: 1.5 is not allowed', { steps: { a: { pool: { p: 1.5 } } } }],
    ['the job: 5 is not allowed', 5],
  ])('refuses %s', (message, value) => {
    expect(problems(() => definitionFrom('j', value)).join('\n')).toContain(message);
  });

  test('has no limits of its own without an executor block, and an empty one lifts all', () => {
    expect(definitionFrom('j', { steps: { a: {} } }).limits).toEqual([]);
    expect(definitionFrom('j', { executor: null, steps: { a: {} } }).limits).toEqual([]);
    expect(definitionFrom('j', { executor: {}, steps: { a: {} } }).limits).toMatchObject([
      { name: 'executor@j', capacity: null, replaces: ['executor block'] },
    ]);
  });
});

describe('the version', () => {
  const base = {
    executor: { max_concurrent: 2 },
    steps: { a: { tags: { x: '1', y: '2' } }, b: { after: ['a'] } },
  };
  const versionOf = (value: unknown) => definitionFrom('j', value).version;

  test('is 16 hex digits, the same for the same definition however it is written', () => {
    expect(versionOf(base)).toMatch(/^[0-9a-f]{16}$/);
    const { a, b } = base.steps;
    expect(
      versionOf({ steps: { a: { tags: { y: '2', x: '1' }, max_attempts: 1 }, b }, executor: base.executor }),
    ).toBe(versionOf(base));
    expect(versionOf({ ...base, steps: { a: { ...a, pool: null }, b } })).toBe(versionOf(base));
  });

  test('does not depend on the order of limits or of after', () => {
    const limits = [
      { key: 'a', limit: 1 },
      { key: 'b', value: 'x', limit: 2 },
    ];
    const steps = { a: {}, b: {}, c: { after: ['a', 'b'] } };
    expect(versionOf({ executor: { tag_concurrency_limits: limits }, steps })).toBe(
      versionOf({
        executor: { tag_concurrency_limits: limits.toReversed() },
        steps: { ...steps, c: { after: ['b', 'a'] } },
      }),
    );
  });

  test('does not change with handlers, and does with anything that shapes scheduling', () => {
    expect(definitionOf(job('j', () => 1)).version).toBe(definitionOf(job('j', () => 2)).version);
    const { a, b } = base.steps;
    const others: unknown[] = [
      { ...base, executor: { max_concurrent: 3 } },
      { ...base, executor: {} },
      { steps: base.steps },
      { ...base, executor: { max_concurrent: 2, tag_concurrency_limits: [{ key: 'x', limit: 1 }] } },
      { ...base, steps: { b, a } },
      { ...base, steps: { a, b: {} } },
      { ...base, steps: { a, c: b } },
      { ...base, steps: { a, b, c: {} } },
      ...[
        { pool: 'p' },
        { pool: { p: 2 } },
        { tags: { x: '1' } },
        { priority: 1 },
        { max_attempts: 2 },
        { max_losses: 2 },
        { timeout: 1 },
        { backoff_ms: 1 },
        { backoff_factor: 1 },
        { backoff_max_ms: 1 },
      ].map((change) => ({ ...base, steps: { a, b: { ...b, ...change } } })),
    ];
    expect(new Set([base, ...others].map(versionOf)).size).toBe(others.length + 1);
  });
});
