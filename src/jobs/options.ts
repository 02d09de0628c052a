import type { z } from 'zod';
import { executorSchema } from '../config.ts';
import { name as nameSchema } from '../schema/fields.ts';
import { fieldOf, type Problem, ProblemsError, problemsOf, unknownName } from '../schema/problems.ts';
import { snakeCase } from '../schema.ts';
import { noStep, refused, stepSchema } from './definition.ts';

/** The options of a step as data. What is no option is kept, so that the check can name it. */
export function plainStep(options: object): Record<string, unknown> {
  const { retry = {}, timeoutSeconds, ...rest } = options as { retry?: unknown; timeoutSeconds?: unknown };
  const flat = typeof retry === 'object' && retry !== null ? snakeCase(retry) : { retry };
  return { ...snakeCase(rest), ...flat, ...snakeCase({ timeout: timeoutSeconds }) };
}

/** The executor options of a job as data. */
export function plainExecutor(executor: unknown): unknown {
  return typeof executor === 'object' && executor !== null ? snakeCase(executor) : executor;
}

/**
 * Checks the options of a whole job at once where it is defined, not only where it is registered.
 * @throws {ProblemsError} naming each option below the job.
 */
export function checkJob(job: string, executor: unknown, others: object): void {
  const named = nameSchema.safeParse(job);
  if (!named.success) throw new ProblemsError('The job', problemsOf(named.error, 'the name of the job'));
  const unknown = Object.keys(others).map((option) => ({
    field: option,
    message: unknownName(option, ['input', 'executor']),
  }));
  const problems = [...unknown, ...problemsIn(['executor'], executorSchema.nullish(), executor)];
  if (problems.length > 0) throw refused(job, problems);
}

/**
 * Checks one step of a job where it is defined; `earlier` has the steps before it.
 * @throws {ProblemsError} naming each option below the job.
 */
export function checkStep(
  job: string,
  step: string,
  plain: { after?: unknown },
  earlier: ReadonlyMap<string, unknown>,
) {
  const field = fieldOf(['steps', step]);
  const after = Array.isArray(plain.after) ? plain.after : [];
  const missing = after.filter((before) => typeof before === 'string' && !earlier.has(before));
  const problems = [
    ...problemsIn(['steps'], nameSchema, step),
    ...(earlier.has(step)
      ? [{ field, message: 'this step is defined twice; give one of them another name' }]
      : []),
    ...problemsIn(['steps', step], stepSchema, plain),
    ...missing.map((before) => ({
      field: `${field}.after`,
      message: noStep(before, 'earlier step', earlier.keys()),
    })),
  ];
  if (problems.length > 0) throw refused(job, problems);
}

function problemsIn(path: string[], schema: z.ZodType, value: unknown): Problem[] {
  const result = schema.safeParse(value);
  if (result.success) return [];
  const issues = result.error.issues.map((issue) => ({ ...issue, path: [...path, ...issue.path] }));
  return problemsOf({ issues });
}
