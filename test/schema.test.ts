import { describe, expect, test } from 'vitest';
import { ProblemsError, parseSubmission, submissionOf } from '../src/schema.ts';

/** The problems of the error that the call throws, as `field: message`. */
function problems(call: () => unknown): string[] {
  try {
    call();
  } catch (error) {
    expect(error).toBeInstanceOf(ProblemsError);
    expect((error as ProblemsError).code).toBe('LK002');
    return (error as ProblemsError).problems.map(({ field, message }) => `${field}: ${message}`);
  }
  throw new Error('nothing was refused');
}

describe('a submission', () => {
  test('has a job and perhaps more, and comes out as it was given', () => {
    expect(parseSubmission({ job: 'load' })).toEqual({ job: 'load' });
    const full = {
      job: 'load',
      input: { file: 'a.csv', nested: [1, null, true] },
      tags: { customer: 'acme', 'dagster/backfill': '' },
      priority: -5,
      deployment: 'pr-1',
      key: 'a.csv/2024',
      max_concurrent: 2,
    };
    expect(parseSubmission(full)).toEqual(full);
  });

  test('from TypeScript has options in camelCase', () => {
    expect(submissionOf('load', { file: 1 }, { maxConcurrent: 3, tags: { a: 'b' }, key: undefined })).toEqual(
      {
        job: 'load',
        input: { file: 1 },
        tags: { a: 'b' },
        max_concurrent: 3,
      },
    );
    expect(submissionOf('load', undefined)).toEqual({ job: 'load', input: undefined });
    expect(problems(() => submissionOf('j', 1, { maxConcurent: 3 } as object))[0]).toContain(
      '`max_concurrent`',
    );
  });

  test.each([
    ['job: missing', {}],
    ['job: 5 is not allowed', { job: 5 }],
    ['job: must not be empty', { job: '' }],
    ['job: contains NUL', { job: 'a\0' }],
    ['priority: 1.5 is not allowed', { job: 'j', priority: 1.5 }],
    ['priority: "high" is not allowed', { job: 'j', priority: 'high' }],
    ['priority: 2147483648 is not allowed', { job: 'j', priority: 2 ** 31 }],
    ['priority: -2147483649 is not allowed', { job: 'j', priority: -(2 ** 31) - 1 }],
    ['priority: NaN is not allowed', { job: 'j', priority: Number.NaN }],
    ['tags.customer: 5 is not allowed; allowed: a string', { job: 'j', tags: { customer: 5 } }],
    ['tags.customer: null is not allowed', { job: 'j', tags: { customer: null } }],
    ['tags.customer: ["acme"] is not allowed', { job: 'j', tags: { customer: ['acme'] } }],
    ['tags.customer: contains NUL or half', { job: 'j', tags: { customer: '\udc00' } }],
    ['tags["a b"]: "a b" is not allowed as a tag key', { job: 'j', tags: { 'a b': 'x' } }],
    ['tags[""]: "" is not allowed as a tag key', { job: 'j', tags: { '': 'x' } }],
    ['tags: ["a"] is not allowed', { job: 'j', tags: ['a'] }],
    ['deployment: 7 is not allowed', { job: 'j', deployment: 7 }],
    ['key: must not be empty', { job: 'j', key: '' }],
    ['max_concurrent: 0 is not allowed; allowed: an integer from 1', { job: 'j', max_concurrent: 0 }],
    ['max_concurrent: 1.5 is not allowed', { job: 'j', max_concurrent: 1.5 }],
    ['piority: no such setting. Did you mean `priority`?', { job: 'j', piority: 1 }],
    ['maxConcurrent: no such setting. Did you mean `max_concurrent`?', { job: 'j', maxConcurrent: 1 }],
    ['the submission: null is not allowed', null],
    ['the submission: [] is not allowed', []],
  ])('is refused: %s', (message, value) => {
    expect(problems(() => parseSubmission(value)).join('\n')).toContain(message);
  });

  test('with several mistakes names them all at once', () => {
    const wrong = { priority: 'x', tags: { a: 1, b: 2 }, nope: 1 };
    expect(() => parseSubmission(wrong)).toThrow(
      /^The submission: 5 problems\n {2}job: missing[\s\S]*\n {2}nope: /,
    );
  });

  test('may have tags from the prototype, and settings from there do nothing', () => {
    const { tags } = parseSubmission(JSON.parse('{"job":"j","tags":{"__proto__":"x","constructor":"y"}}'));
    expect(JSON.stringify(tags)).toBe('{"__proto__":"x","constructor":"y"}');
    expect(problems(() => parseSubmission(JSON.parse('{"job":"j","__proto__":{"priority":5}}')))).toEqual([
      expect.stringContaining('__proto__: no such setting'),
    ]);
  });

  test('may have null for what is left out', () => {
    const nothing = {
      tags: null,
      priority: null,
      deployment: null,
      key: null,
      max_concurrent: null,
      input: null,
    };
    expect(parseSubmission({ job: 'j', ...nothing })).toEqual({ job: 'j', ...nothing });
  });
});

describe('an input must be what jsonb can hold', () => {
  const circle: Record<string, unknown> = {};
  circle.again = circle;

  test.each([
    ['input: contains NUL', 'a\0b'],
    ['input.rows[1].name: contains NUL or half', { rows: [{}, { name: '\ud83d' }] }],
    ['input.a["b\\u0000"]: the name contains NUL', { a: { 'b\0': 1 } }],
    ['input.n: NaN is no number in JSON', { n: Number.NaN }],
    ['input[0]: -Infinity is no number', [Number.NEGATIVE_INFINITY]],
    ['input.id: 5n is no value in JSON; write a string', { id: 5n }],
    ['input.f: a function is no value', { f: () => 1 }],
    ['input.m: a Map would be lost', { m: new Map() }],
    ['input.again.again.again: nested deeper than 1000 levels', circle],
  ])('so %s', (message, input) => {
    expect(problems(() => submissionOf('j', input))).toEqual([expect.stringContaining(message)]);
  });

  test.each([
    ['emoji and escapes that only look like NUL', '😀 \\u0000'],
    ['dates, which are strings in JSON', { at: new Date(0) }],
    ['undefined, which is left out', { a: undefined }],
    ['nothing at all', undefined],
    ['zero, false and empty', [0, false, '', {}, []]],
  ])('%s are fine', (_, input) => {
    expect(submissionOf('j', input).input).toBe(input);
  });
});
