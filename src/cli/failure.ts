/** Errors as people read them: what is wrong, and what to do. */

import { LockkeeperError } from '../errors.ts';
import { errColoursOf, type Io } from './io.ts';
import { harmlessLines } from './text.ts';

/** The run or step did not succeed, or not all that was asked for could be done; what there is to say was printed. */
export class Unsuccessful extends Error {
  /** 2 only where the command's help says what it means. */
  readonly exitCode: 1 | 2;

  constructor(message = '', exitCode: 1 | 2 = 1) {
    super(message);
    this.exitCode = exitCode;
  }
}

type Said = { message: string; hint?: string | undefined };
type Raw = Error & { code?: unknown; errors?: unknown; hint?: unknown };

const migrateFirst =
  'Run `lockkeeper migrate` on this database, with the same LOCKKEEPER_SCHEMA and PGBOSS_SCHEMA.';
const checkAddress = 'Check DATABASE_URL, and that this Postgres runs and can be reached from here.';

/** By the code of Node or the SQLSTATE of Postgres. */
const known: Readonly<Record<string, (message: string) => Said>> = {
  '42P01': notMigrated,
  '3F000': notMigrated,
  '42883': notMigrated,
  '42703': notMigrated,
  '28P01': (message) => ({ message, hint: 'Check user and password in DATABASE_URL.' }),
  '28000': (message) => ({ message, hint: 'Check user and password in DATABASE_URL.' }),
  '3D000': (message) => ({ message, hint: 'Create this database, or name another one in DATABASE_URL.' }),
  '42501': (message) => ({
    message,
    hint: 'The user in DATABASE_URL needs the rights of the one who migrated.',
  }),
  '40P01': inUse,
  '55P03': inUse,
  '53300': (message) => ({
    message,
    hint: 'End connections that are left over, raise max_connections, or put PgBouncer between.',
  }),
};

function inUse(message: string): Said {
  return {
    message,
    hint: 'Others were at the same rows or tables, so this transaction was taken back: try again.',
  };
}

function notMigrated(message: string): Said {
  return { message: `The database does not fit this release: ${message}.`, hint: migrateFirst };
}

const unreachable = new Set([
  'ECONNREFUSED',
  'ENOTFOUND',
  'EAI_AGAIN',
  'ETIMEDOUT',
  'EHOSTUNREACH',
  'ECONNRESET',
]);

/** What to say of any error. */
export function failureOf(error: unknown): Said {
  if (error instanceof LockkeeperError) return { message: error.message, hint: error.hint };
  if (!(error instanceof Error)) return { message: String(error) };
  const { code, errors, hint } = error as Raw;
  const message = messageOf(error, errors);
  if (typeof code === 'string' && unreachable.has(code))
    return { message: `The database cannot be reached: ${message}.`, hint: checkAddress };
  const said = typeof code === 'string' ? known[code]?.(message) : undefined;
  return said ?? { message, hint: typeof hint === 'string' ? hint : undefined };
}

/** Node tells of several addresses that all refused in `errors`, with no message. */
function messageOf(error: Error, errors: unknown): string {
  if (error.message) return error.message;
  if (!Array.isArray(errors)) return error.name;
  return errors.map((each) => (each instanceof Error ? each.message : String(each))).join('; ');
}

/** Prints an error and its hint; with LOG_LEVEL debug or trace, where it came from too. */
export function report(io: Io, error: unknown): void {
  if (error instanceof Unsuccessful && error.message === '') return;
  const { message, hint } = failureOf(error);
  const colours = errColoursOf(io);
  io.err(`${colours.red('lockkeeper:')} ${harmlessLines(message)}`);
  if (hint) io.err(`${colours.dim('hint:')} ${harmlessLines(hint)}`);
  if (['debug', 'trace'].includes(io.env.LOG_LEVEL ?? '') && error instanceof Error)
    io.err(harmlessLines(error.stack ?? ''));
}
