/** Every error that Lockkeeper throws on purpose: one class for each SQLSTATE of the SQL API. */

export type ErrorOptions = { hint?: string | undefined; cause?: unknown };

/** The base of all errors. `code` is the SQLSTATE (`LK001` …); `hint` says what to do, where there is advice. */
export class LockkeeperError extends Error {
  readonly code: string = 'LK000';
  readonly hint: string | undefined;

  constructor(message: string, options: ErrorOptions = {}) {
    super(message, options.cause === undefined ? undefined : { cause: options.cause });
    this.name = new.target.name;
    this.hint = options.hint;
  }
}

/** A function that locks was called in a transaction that is not READ COMMITTED. */
export class IsolationError extends LockkeeperError {
  override readonly code = 'LK001';
}

/** A value is not allowed; the message names the field, the value and what is allowed. */
export class InvalidInputError extends LockkeeperError {
  override readonly code = 'LK002';
}

/** No job of this name (or of this version) is registered. */
export class UnknownJobError extends LockkeeperError {
  override readonly code = 'LK003';
}

/** No deployment has this name. */
export class UnknownDeploymentError extends LockkeeperError {
  override readonly code = 'LK004';
}

/** The lease of this worker has ended; what it held was or will be given to others. */
export class LeaseEndedError extends LockkeeperError {
  override readonly code = 'LK005';
}

/** Schema and code do not match: migrate, or install the release that fits the schema. */
export class SchemaError extends LockkeeperError {
  override readonly code = 'LK006';
}

/** What was asked contradicts what exists, such as a deployment of another kind under the same name. */
export class ConflictError extends LockkeeperError {
  override readonly code = 'LK007';
}

const classes = new Map<unknown, new (message: string, options?: ErrorOptions) => LockkeeperError>([
  ['LK001', IsolationError],
  ['LK002', InvalidInputError],
  ['LK003', UnknownJobError],
  ['LK004', UnknownDeploymentError],
  ['LK005', LeaseEndedError],
  ['LK006', SchemaError],
  ['LK007', ConflictError],
]);

type PgError = Error & { code?: unknown; hint?: unknown };

/**
 * The error to throw instead of what pg, Kysely or another driver threw: by its SQLSTATE one of the classes above,
 * with the message, the hint and the original as `cause`. Any other error is returned as it is.
 */
export function fromPg(error: unknown): unknown {
  if (!(error instanceof Error) || error instanceof LockkeeperError) return error;
  const { code, hint, message } = error as PgError;
  const LockkeeperClass = classes.get(code);
  if (!LockkeeperClass) return error;
  return new LockkeeperClass(message, { hint: typeof hint === 'string' ? hint : undefined, cause: error });
}
