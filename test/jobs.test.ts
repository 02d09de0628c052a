import pino from 'pino';
import { describe, expect, expectTypeOf, test } from 'vitest';
import { z } from 'zod';
import { InvalidInputError } from '../src/errors.ts';
import {
  type AnyJob,
  definitionFrom,
  definitionOf,
  type HandlerContext,
  type InputOf,
  job,
  type Logger,
  MAX_STEPS,
  ONLY_STEP,
  type OutputsOf,
} from '../src/jobs.ts';
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

const load = job('load', {
  input: z.object({ file: z.string(), since: z.coerce.date<string>().optional() }),
  executor: { maxConcurrent: 2, tagConcurrencyLimits: [{ key: 'size', value: 'big', limit: 1 }] },
})
  .step('extract', async ({ input }) => ({ rows: 3, file: input.file, at: new Date(0) }))
  .step('audit', nothing)
  .step(
    'copy',
    {
      after: ['extract'],
      pool: { warehouse: 2, api: 1 },
      tags: { size: 'big' },
      priority: 7,
      retry: { maxAttempts: 3, backoffMs: 1_000, backoffFactor: 3, backoffMaxMs: 60_000 },
      maxLosses: 0,
      timeoutSeconds: 0.5,
    },
    async ({ outputs }) => outputs.extract.rows,
  )
  .step('report', { after: ['copy', 'audit'], pool: 'warehouse' }, ({ outputs }) => `${outputs.copy} rows`);

describe('a job defined in TypeScript', () => {
  test('becomes what register stores: steps in the order of their definition, names in snake_case', () => {
    const { job, steps, limits } = definitionOf(load);
    expect(job).toBe('load');
    expect(steps.map(({ name, after }) => [name, after])).toEqual([
      ['extract', []],
      ['audit', []],
      ['copy', ['extract']],
      ['report', ['copy', 'audit']],
    ]);
    expect(steps[0]).toEqual({
      name: 'extract',
      after: [],
      pools: {},
      tags: {},
      priority: 0,
      max_attempts: 1,
      max_losses: 3,
      timeout_ms: null,
      backoff_ms: 0,
      backoff_factor: 2,
      backoff_max_ms: 3_600_000,
    });
    expect(steps[2]).toEqual({
      name: 'copy',
      after: ['extract'],
      pools: { warehouse: 2, api: 1 },
      tags: { size: 'big' },
      priority: 7,
      max_attempts: 3,
      max_losses: 0,
      timeout_ms: 500,
      backoff_ms: 1_000,
      backoff_factor: 3,
      backoff_max_ms: 60_000,
    });
    expect(steps[3]?.pools).toEqual({ warehouse: 1 });
    expect(limits.map(({ name, capacity }) => [name, capacity])).toEqual([
      ['executor@load', 2],
      ['executor@load.tag.size=big', 1],
    ]);
  });

  test('of one step is one line, and the step is called run', () => {
    const ping = job('ping', () => 'pong');
    expect(definitionOf(ping).steps.map(({ name }) => name)).toEqual([ONLY_STEP]);
    const copy = job(
      'copy',
      { input: z.string(), pool: 'db', retry: { maxAttempts: 2 } },
      ({ input }) => input.length,
    );
    expect(definitionOf(copy).steps).toMatchObject([{ name: 'run', pools: { db: 1 }, max_attempts: 2 }]);
    expect(definitionOf(copy).limits).toEqual([]);
    expectTypeOf<OutputsOf<typeof ping>>().branded.toEqualTypeOf<{ run: string }>();
    expectTypeOf<InputOf<typeof copy>>().toEqualTypeOf<string>();
  });

  test('does not change when a step is added: two jobs may share their beginning', () => {
    const begin = job('begin').step('a', nothing);
    const one = begin.step('b', nothing);
    const two = begin.step('c', { after: ['a'] }, nothing);
    expect(definitionOf(begin).steps).toHaveLength(1);
    expect(definitionOf(one).steps.map(({ name }) => name)).toEqual(['a', 'b']);
    expect(definitionOf(two).steps.map(({ name }) => name)).toEqual(['a', 'c']);
  });

  test('gives its handlers by the name of the step', async () => {
    const context = { outputs: { extract: { rows: 3 } } } as unknown as HandlerContext;
    await expect(load.handlerOf('copy')?.(context)).resolves.toBe(3);
    expect(load.handlerOf('Copy')).toBeUndefined();
  });

  test('checks an input and names its fields', async () => {
    const since = '2024-01-01';
    await expect(load.parseInput({ file: 'a.csv', since })).resolves.toEqual({
      file: 'a.csv',
      since: new Date(since),
    });
    await expect(load.parseInput({ file: 5 })).rejects.toThrow(/job "load".*: input\.file: .*string/);
    await expect(load.parseInput(undefined)).rejects.toThrow(/: input: /);
    await expect(job('list', { input: z.array(z.number()) }).parseInput([1, 'x'])).rejects.toThrow(
      /: input\[1\]: /,
    );
    await expect(job('free', nothing).parseInput({ any: 1 })).resolves.toEqual({ any: 1 });
  });

  test('takes as many steps as are allowed, and not one more', () => {
    const steps = Object.fromEntries(Array.from({ length: MAX_STEPS }, (_, i) => [`s${i}`, {}]));
    expect(definitionFrom('long', { steps }).steps).toHaveLength(4_000);
    expect(problems(() => definitionFrom('long', { steps: { ...steps, more: {} } }))).toEqual([
      'steps: 4001 steps are not allowed; allowed: at most 4000',
    ]);
  });

  test('keeps steps with odd names in the order in which they were defined', () => {
    const odd = ['10', '2', '__proto__', 'constructor', 'a step "with" spaces'];
    let built: AnyJob = job('odd');
    for (const name of odd) built = built.step(name, nothing);
    expect(definitionOf(built).steps.map(({ name }) => name)).toEqual(odd);
  });
});

describe('types run from end to end', () => {
  test('input, outputs and submission', () => {
    load.step('check', { after: ['extract', 'audit'] }, ({ input, outputs }) => {
      expectTypeOf(input).toEqualTypeOf<{ file: string; since?: Date | undefined }>();
      expectTypeOf(outputs.extract).branded.toEqualTypeOf<{ rows: number; file: string; at: string }>();
      expectTypeOf(outputs.audit).toEqualTypeOf<null>();
      // @ts-expect-error: only the outputs of the steps named in `after` are there
      outputs.copy;
    });
    expectTypeOf<InputOf<typeof load>>().toEqualTypeOf<{ file: string; since?: string | undefined }>();
    expectTypeOf<OutputsOf<typeof load>['copy']>().toEqualTypeOf<number>();
    expectTypeOf<OutputsOf<typeof load>['report']>().toEqualTypeOf<string>();
  });

  test('a step may only come after steps defined before it, and has a name of its own', () => {
    // @ts-expect-error: there is no step `extrct`
    expect(problems(() => load.step('more', { after: ['extrct'] }, nothing))).toEqual([
      'steps.more.after: no earlier step of this job is named "extrct". Did you mean "extract"?',
    ]);
    // @ts-expect-error: not even itself
    expect(() => load.step('more', { after: ['more'] }, nothing)).toThrow(/no earlier step/);
    // @ts-expect-error: the name is taken
    expect(() => load.step('copy', nothing)).toThrow(/steps\.copy: .*twice/);
    // @ts-expect-error: no step, no outputs
    job('first').step('a', ({ outputs }) => outputs.b);
  });

  test('what a handler returned is typed as JSON gives it back', () => {
    const j = job('j')
      .step('optional', () => ({}) as { a?: number; b: [1, 'x']; c: (string | undefined)[] })
      .step('maybe', (): 'x' | undefined => 'x')
      .step('unknown', () => ({}) as unknown);
    expectTypeOf<OutputsOf<typeof j>['optional']>().branded.toEqualTypeOf<{
      a?: number;
      b: [1, 'x'];
      c: (string | null)[];
    }>();
    expectTypeOf<OutputsOf<typeof j>['maybe']>().toEqualTypeOf<'x' | null>();
    expectTypeOf<OutputsOf<typeof j>['unknown']>().toBeUnknown();
  });

  test('jobs of all kinds fit in one list, and a pino logger is a logger', () => {
    const jobs: AnyJob[] = [load, job('ping', () => 'pong'), job('empty')];
    expect(jobs).toHaveLength(3);
    const logger: Logger = pino({ enabled: false });
    logger.info({ rows: 3 }, 'copied');
  });
});

describe('a mistake is told where it is made', () => {
  test('in the options of a step', () => {
    const options = {
      pool: { warehouse: 0, 'my pool': 1 },
      tags: { size: 5, 'a b': 'x' },
      priority: 2 ** 31,
      retry: { maxAttempts: 0, backoffMs: -1, backoffFactor: 0.5, backoffMaxMs: 1.5 },
      maxLosses: -1,
      timeoutSeconds: 0,
      poool: 'x',
    };
    const found = problems(() => job('j').step('s', options as object, nothing));
    expect(found.map((problem) => problem.slice(0, problem.indexOf(':')))).toEqual([
      'steps.s.pool.warehouse',
      'steps.s.pool["my pool"]',
      'steps.s.tags.size',
      'steps.s.tags["a b"]',
      'steps.s.priority',
      'steps.s.max_attempts',
      'steps.s.max_losses',
      'steps.s.timeout',
      'steps.s.backoff_ms',
      'steps.s.backoff_factor',
      'steps.s.backoff_max_ms',
      'steps.s.poool',
    ]);
    expect(found[0]).toBe(
      'steps.s.pool.warehouse: 0 is not allowed; allowed: an integer from 1 to 2147483647',
    );
    expect(found.at(-1)).toContain('Did you mean `pool`?');
  });

  test.each([
    ['a pool that is no name', { pool: 5 }, 'steps.s.pool: 5 is not allowed'],
    [
      'after that is no list',
      { after: 'a' },
      'steps.s.after: "a" is not allowed; allowed: a list of step names',
    ],
    ['retry that is no object', { retry: 3 }, 'steps.s.retry: no such setting'],
    ['a tag with half a character', { tags: { a: '\ud800' } }, 'steps.s.tags.a: contains NUL or half'],
  ])('%s', (_, options, message) => {
    expect(problems(() => job('j').step('s', options as object, nothing))[0]).toContain(message);
  });

  test('in the options of a job', () => {
    expect(problems(() => job('j', { executor: { maxConcurrent: 0 } }))[0]).toMatch(
      /^executor\.max_concurrent: 0 is not allowed.*could never end/,
    );
    const zero = [{ key: 'size', limit: 0 }];
    expect(problems(() => job('j', { executor: { tagConcurrencyLimits: zero } }))[0]).toMatch(
      /^executor\.tag_concurrency_limits\[0\]\.limit: 0/,
    );
    expect(problems(() => job('j', { inptu: z.string(), pool: 'x' } as object))).toEqual([
      'inptu: no such setting. Did you mean `input`? Allowed here: input, executor',
      'pool: no such setting. Allowed here: input, executor',
    ]);
    expect(problems(() => job(''))).toEqual(['the name of the job: must not be empty']);
    expect(problems(() => job('a\0b', nothing))[0]).toContain('NUL');
    expect(problems(() => job('j').step('', nothing))[0]).toContain('must not be empty');
    expect(() => job('j', { executor: { maxConcurrent: 0 } })).toThrow(/^Job "j": executor\.max_concurrent/);
  });

  test('a job needs a step', () => {
    expect(problems(() => definitionOf(job('empty')))).toEqual([
      'steps: empty; a job needs at least one step',
    ]);
  });
});
