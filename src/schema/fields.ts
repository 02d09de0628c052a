import { z } from 'zod';
import { says, unknownName } from './problems.ts';

/** The largest number that Postgres's `integer` holds. */
export const INT32_MAX = 2_147_483_647;

const isText = (text: string) => !text.includes('\0') && text.isWellFormed();
const NOT_TEXT =
  'contains NUL or half of a surrogate pair, which Postgres cannot store; leave that character out';

/** Any string that Postgres can store. */
export const text = z
  .string({ error: says('a string') })
  .refine(isText, { error: NOT_TEXT })
  .meta({ allowed: 'text' });

/** A name of a job, step or deployment: any text that is not empty. */
export const name = text
  .refine((value) => value !== '', { error: 'must not be empty' })
  .meta({ allowed: 'text, not empty' });

/** A tag's value. Unquoted numbers and booleans are the usual slip in YAML, so the message says what to do. */
export const tagValue = z
  .string({
    error: ({ input }) => {
      const isScalar = typeof input === 'number' || typeof input === 'boolean';
      return says(isScalar ? 'a string; write it in quotes' : 'a string')({ input });
    },
  })
  .refine(isText, { error: NOT_TEXT })
  .meta({ allowed: 'text' });

const patterned = (what: string) =>
  z
    .string({ error: says(`the ${what}`) })
    .refine((value) => /^[A-Za-z0-9_./:-]+$/.test(value), {
      error: ({ input }) =>
        `${JSON.stringify(input)} is not allowed as a ${what}; allowed: letters, digits and _ . / : -`,
    })
    .meta({ allowed: 'letters, digits and `_ . / : -`' });

/** A pool's name: `[A-Za-z0-9_./:-]+`. */
export const poolName = patterned('pool name');
/** A tag's key: `[A-Za-z0-9_./:-]+`. */
export const tagKey = patterned('tag key');

/** An integer in the given bounds, which must lie within 32 bits. `note` says more about what is allowed. */
export function integer(min: number, max = INT32_MAX, note = ''): z.ZodType<number> {
  const error = says(`an integer from ${min} to ${max}${note}`);
  return z
    .number({ error })
    .refine((value) => Number.isInteger(value) && value >= min && value <= max, { error })
    .meta({ allowed: `integer from ${min}${max === INT32_MAX ? '' : ` to ${max}`}` });
}

const isoTime = /^\d{4}-\d{2}-\d{2}[T ]\d{2}:\d{2}(:\d{2}(\.\d{1,9})?)?(Z|[+-]\d{2}(:?\d{2})?)$/;
const saysTime = says('a time as ISO 8601 writes it, with its zone, such as 2026-01-31T06:00:00Z');

/** A moment: a Date, or its text with a zone; it comes out as text. */
export const moment = z
  .preprocess(
    (input) => (input instanceof Date && !Number.isNaN(input.getTime()) ? input.toISOString() : input),
    z
      .string({ error: saysTime })
      .refine((value) => isoTime.test(value) && !Number.isNaN(Date.parse(value)), { error: saysTime }),
  )
  .meta({ allowed: 'time in ISO 8601, with its zone' });

/** A length of time in milliseconds, from 1 to about 31 years. */
export const milliseconds = integer(1, 1_000_000_000_000);

/** -2,147,483,648 … 2,147,483,647; higher goes first. */
export const priority = integer(-INT32_MAX - 1);

function capacity(min: number, note: string) {
  const error = says(`an integer from ${min} to ${INT32_MAX}, or -1 or null for no limit${note}`);
  const allowed = (value: number) =>
    Number.isInteger(value) && (value === -1 || value >= min) && value <= INT32_MAX;
  return z
    .number({ error })
    .refine(allowed, { error })
    .nullable()
    .transform((value) => (value === null || value === -1 ? null : value + 0))
    .meta({ allowed: `integer from ${min}; -1 or null: not limited`, leftOut: 'not limited' });
}

/** A limit: an integer; 0 starts nothing; -1 and null are unlimited, and both come out as null. */
export const limit = capacity(0, '');

/** A limit inside a run. 0 is refused: no step could start, so the run could never end. */
export const limitOfExecutor = capacity(
  1,
  '. With 0 a run could never end: leave it out, or set the limit of a pool to 0',
);

/**
 * An object with settings of ours. A name that is not one of them is a problem; `hint` may say what to write instead,
 * else the nearest name is suggested.
 */
export function block<S extends z.core.$ZodLooseShape>(
  shape: S,
  hint: (name: string) => string | undefined = () => undefined,
): z.ZodObject<S, z.core.$strict> {
  const allowed = Object.keys(shape);
  const one = (key: string) => hint(key) ?? unknownName(key, allowed);
  return z.strictObject(shape, {
    error: (issue) =>
      issue.code === 'unrecognized_keys'
        ? issue.keys.map(one).join('\n')
        : says(`an object with ${allowed.join(', ')}`)(issue),
  });
}

/** An object whose names are the user's own. It comes out as a Map, where `__proto__` is a name like any other. */
export function mapOf<V extends z.ZodType>(names: z.ZodType<string, string>, values: V, allowed: string) {
  return z.preprocess(
    (input) => (isObject(input) && !(input instanceof Map) ? new Map(Object.entries(input)) : input),
    z.map(names, values, { error: says(allowed) }),
  );
}

/** One of two forms, told apart by the input, so that the problems are those of the form that was meant. */
export function either<O extends z.ZodType, S extends z.ZodType>(object: O, scalar: S) {
  return z
    .unknown()
    .transform((input, context): z.output<O> | z.output<S> => {
      const result = (isObject(input) ? object : scalar).safeParse(input);
      if (result.success) return result.data;
      for (const issue of result.error.issues)
        context.issues.push({ ...issue, input } as z.core.$ZodRawIssue);
      return z.NEVER;
    })
    .meta({ forms: [object, scalar] });
}

function isObject(input: unknown): input is object {
  return typeof input === 'object' && input !== null && !Array.isArray(input);
}
