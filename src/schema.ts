import type { z } from 'zod';
import {
  block,
  integer,
  mapOf,
  milliseconds,
  moment,
  name,
  priority,
  tagKey,
  tagValue,
} from './schema/fields.ts';
import { ProblemsError, problemsOf } from './schema/problems.ts';
import { storable } from './schema/storable.ts';

export { type Problem, ProblemsError, problemsOf } from './schema/problems.ts';
export { storable } from './schema/storable.ts';

/** Tags of a run or a step: tag keys with strings. */
export const tagsSchema = mapOf(tagKey, tagValue, 'an object of tag keys and strings').transform(
  (tags): Record<string, string> => Object.fromEntries(tags),
);

/**
 * One submission, as the SQL function `submit`, the queue `lockkeeper.submit` and the command line take it. What is
 * left out or null takes its default: no tags, priority 0, deployment `default`, no key, no setting of the run's own.
 */
export const submissionSchema = block({
  /** The job to run; it must be registered. */
  job: name,
  /** The job's input: any JSON. */
  input: storable.optional(),
  /** Tags of the run, for run tag limits. */
  tags: tagsSchema.nullish(),
  /** Higher goes first. */
  priority: priority.nullish(),
  /** Where the run belongs; it must exist. */
  deployment: name.nullish(),
  /** Instead of `deployment`: a branch deployment by this name, which is made if it is missing. */
  branch: name.max(200, { error: 'is longer than 200 characters' }).nullish(),
  /** Idempotency: of all submissions with the same key only the first makes a run. */
  key: name.nullish(),
  /** At most so many steps of this run at once; replaces `max_concurrent` of the job and of the configuration. */
  max_concurrent: integer(
    1,
    undefined,
    '. With 0 the run could never end: leave it out for no setting of its own',
  ).nullish(),
  /** The run asks for nothing before this time. */
  start_at: moment.nullish(),
  /** The run fails if it is not admitted within so many milliseconds, counted from `start_at` if there is one. */
  queue_timeout_ms: milliseconds.nullish(),
  /** The run fails if it has not ended so many milliseconds after its admission; what runs of it ends then. */
  timeout_ms: milliseconds.nullish(),
}).refine(({ branch, deployment }) => typeof branch !== 'string' || typeof deployment !== 'string', {
  path: ['branch'],
  error: 'is given beside `deployment`; a branch is a deployment: give its name as `branch` alone',
});

/** A checked submission. */
export type Submission = z.output<typeof submissionSchema>;

/** What may be said of a run when it is submitted. */
export type SubmitOptions = {
  /** For run tag limits; keys of `[A-Za-z0-9_./:-]+`. */
  tags?: Readonly<Record<string, string>> | undefined;
  /** Higher goes first; 32 bits. Default: 0. */
  priority?: number | undefined;
  /** Must exist. Default: `default`. */
  deployment?: string | undefined;
  /** Instead of `deployment`: a branch deployment by this name, which is made if it is missing. */
  branch?: string | undefined;
  /** Idempotency: of all submissions with the same key only the first makes a run. */
  key?: string | undefined;
  /** At most so many steps of this run at once, 1 or more; replaces `max_concurrent` of job and configuration. */
  maxConcurrent?: number | undefined;
  /** The run asks for nothing before this time; a text is ISO 8601 with a zone. */
  startAt?: Date | string | undefined;
  /** Milliseconds in which it must be admitted, from `startAt` or its submission on; else the run fails. */
  queueTimeoutMs?: number | undefined;
  /** Milliseconds in which it must end, from its admission on; then what runs of it ends, and the run fails. */
  timeoutMs?: number | undefined;
};

/**
 * Checks one submission that came from outside: pg-boss, the command line, a file.
 * @throws {ProblemsError} that names every field that is wrong.
 */
export function parseSubmission(value: unknown): Submission {
  const result = submissionSchema.safeParse(value);
  if (!result.success) throw new ProblemsError('The submission', problemsOf(result.error, 'the submission'));
  return result.data;
}

/**
 * A submission from the arguments of a call in TypeScript.
 * @throws {ProblemsError} that names every field that is wrong.
 */
export function submissionOf(job: string, input: unknown, options: SubmitOptions = {}): Submission {
  return parseSubmission({ ...snakeCase(options), job, input });
}

/** The same object with its own names (not those inside) in snake_case, undefined ones left out. */
export function snakeCase(options: object): Record<string, unknown> {
  const given = Object.entries(options).filter(([, value]) => value !== undefined);
  return Object.fromEntries(
    given.map(([key, value]) => [key.replaceAll(/[A-Z]/g, (c) => `_${c.toLowerCase()}`), value]),
  );
}
