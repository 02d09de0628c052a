import { expect, test } from 'vitest';
import {
  ConflictError,
  fromPg,
  InvalidInputError,
  IsolationError,
  LeaseEndedError,
  LockkeeperError,
  SchemaError,
  UnknownDeploymentError,
  UnknownJobError,
} from '../src/errors.ts';

const pgError = (code: string, hint?: string) => Object.assign(new Error('what happened'), { code, hint });

test.each([
  ['LK001', IsolationError],
  ['LK002', InvalidInputError],
  ['LK003', UnknownJobError],
  ['LK004', UnknownDeploymentError],
  ['LK005', LeaseEndedError],
  ['LK006', SchemaError],
  ['LK007', ConflictError],
])('%s becomes its class, with message, hint and cause', (code, LockkeeperClass) => {
  const original = pgError(code, 'what to do');
  const error = fromPg(original);
  expect(error).toBeInstanceOf(LockkeeperClass);
  expect(error).toMatchObject({ code, message: 'what happened', hint: 'what to do', cause: original });
  expect((error as Error).name).toBe(LockkeeperClass.name);
});

test('other errors stay what they are', () => {
  for (const error of [pgError('23505'), new Error('no code'), 'text', undefined])
    expect(fromPg(error)).toBe(error);
  const ours = new LockkeeperError('ours');
  expect(fromPg(ours)).toBe(ours);
});
