import { z } from 'zod';

const MAX_DEPTH = 1_000;

/**
 * A value that Postgres's `jsonb` can hold and give back: no NUL or half of a surrogate pair in a string or a name, no
 * number that JSON lacks, nothing that JSON would lose in silence. As in JSON, `undefined` is left out of an object,
 * and what has `toJSON` (a Date) stands for what that returns.
 */
export const storable = z.unknown().superRefine((value, context) => {
  const found = unstorable(value, []);
  if (found) context.addIssue({ code: 'custom', path: found.path, message: found.message });
});

type Found = { path: PropertyKey[]; message: string };

function unstorable(value: unknown, path: PropertyKey[]): Found | undefined {
  if (path.length > MAX_DEPTH) {
    return { path: path.slice(0, 3), message: `nested deeper than ${MAX_DEPTH} levels, or contains itself` };
  }
  if (typeof value === 'object' && value !== null) {
    const plain: unknown = 'toJSON' in value && typeof value.toJSON === 'function' ? value.toJSON() : value;
    if (typeof plain === 'object' && plain !== null) return unstorableObject(plain, path);
    value = plain;
  }
  const reason = unstorableScalar(value);
  return reason === undefined ? undefined : { path, message: reason };
}

function unstorableScalar(value: unknown): string | undefined {
  if (typeof value === 'string' && (value.includes('\0') || !value.isWellFormed())) {
    return 'contains NUL or half of a surrogate pair, which Postgres cannot store; leave that character out';
  }
  if (typeof value === 'number' && !Number.isFinite(value))
    return `${value} is no number in JSON; write null or a string`;
  if (typeof value === 'bigint') return `${value}n is no value in JSON; write a string`;
  if (typeof value === 'function' || typeof value === 'symbol')
    return `a ${typeof value} is no value in JSON`;
  return undefined;
}

function unstorableObject(value: object, path: PropertyKey[]): Found | undefined {
  if (value instanceof Map || value instanceof Set) {
    return {
      path,
      message: `a ${value.constructor.name} would be lost in JSON; write an object or an array`,
    };
  }
  for (const [key, inner] of Object.entries(value)) {
    const part = Array.isArray(value) ? Number(key) : key;
    const reason = unstorableScalar(key);
    if (reason !== undefined) return { path: [...path, part], message: `the name ${reason}` };
    const found = unstorable(inner, [...path, part]);
    if (found) return found;
  }
  return undefined;
}
