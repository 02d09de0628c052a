import type { z } from 'zod';
import type { Executor } from './database.ts';
import { definitionFrom, type JobDefinition } from './jobs/definition.ts';
import { checkJob, checkStep, plainExecutor, plainStep } from './jobs/options.ts';
import type {
  AnyHandler,
  ExecutorOptions,
  Handler,
  HandlerContext,
  StepOptions,
  Stored,
} from './jobs/types.ts';
import { ProblemsError, problemsOf, shown } from './schema/problems.ts';

export { definitionFrom, type JobDefinition, MAX_STEPS, type StepRow } from './jobs/definition.ts';
export type {
  ExecutorOptions,
  Handler,
  HandlerContext,
  HandlerRun,
  Logger,
  RetryOptions,
  StepOptions,
  Stored,
  TagLimitOptions,
} from './jobs/types.ts';

/** Any job, for places that do not care for its types. */
// biome-ignore lint/suspicious/noExplicitAny: a job takes and gives its input, so no other type holds every job
export type AnyJob = Job<any, any, any>;
/** What must be given to submit the job. */
export type InputOf<J> = J extends Job<infer Submitted, infer _Input, infer _Outputs> ? Submitted : never;
/** The outputs of all steps by name: the result of a run that succeeded. */
export type OutputsOf<J> = J extends Job<infer _Submitted, infer _Input, infer Outputs> ? Outputs : never;

type Step = { plain: Record<string, unknown>; handler: AnyHandler };
type Parts = {
  name: string;
  schema: z.ZodType | undefined;
  executor: unknown;
  steps: ReadonlyMap<string, Step>;
};

/** The name of the only step of a job that was defined in one line. */
export const ONLY_STEP = 'run';

/**
 * A job: named steps with their handlers. Jobs do not change; `step` returns a new one that has the step too. `Submitted`
 * is what a submission gives as input, `Input` what handlers get, `Outputs` what the steps so far return.
 */
export class Job<Submitted, Input, Outputs> {
  readonly name: string;
  readonly #parts: Parts;
  // Only for inference: nothing is ever stored here.
  declare readonly types?: { submitted: Submitted; input: Input; outputs: Outputs };

  /** Use `job` or `jobFromDefinition`. */
  constructor(parts: Parts) {
    this.name = parts.name;
    this.#parts = parts;
  }

  /**
   * Adds a step. Its `after` may name the steps defined before it, and the handler gets their outputs.
   * @throws {ProblemsError} if a name is taken or an option is not allowed.
   */
  step<const Name extends string, Output>(
    name: Name & Fresh<Name, Outputs>,
    handler: Handler<Input, Record<never, never>, Output>,
  ): Job<Submitted, Input, Outputs & Record<Name, Stored<Output>>>;
  step<const Name extends string, Output, const After extends keyof Outputs & string = never>(
    name: Name & Fresh<Name, Outputs>,
    options: StepOptions<After>,
    handler: Handler<Input, Pick<Outputs, After>, Output>,
  ): Job<Submitted, Input, Outputs & Record<Name, Stored<Output>>>;
  step(name: string, ...rest: [AnyHandler] | [StepOptions, AnyHandler]): AnyJob {
    const [options, handler] = rest.length === 1 ? [{}, rest[0]] : rest;
    const { steps } = this.#parts;
    const plain = plainStep(options);
    checkStep(this.name, name, plain, steps);
    return new Job({ ...this.#parts, steps: new Map([...steps, [name, { plain, handler }]]) });
  }

  /** The handler of a step; undefined if the job has no such step. */
  handlerOf(step: string): AnyHandler | undefined {
    return this.#parts.steps.get(step)?.handler;
  }

  /**
   * Checks an input against the job's schema; a job without a schema takes any. Submitting stores the input as it was
   * given, and each handler gets what this returns for it.
   * @throws {ProblemsError} naming the fields below `input`.
   */
  async parseInput(input: unknown): Promise<Input> {
    const result = await this.#parts.schema?.safeParseAsync(input);
    if (!result) return input as Input;
    if (result.success) return result.data as Input;
    const problems = problemsOf(result.error, '').map(({ field, message }) => ({
      field: field === '' || field.startsWith('[') ? `input${field}` : `input.${field}`,
      message,
    }));
    throw new ProblemsError(`The input of job ${shown(this.name)}`, problems);
  }

  /** @internal What `definitionOf` reads. */
  get plain(): { executor: unknown; steps: ReadonlyMap<string, unknown> } {
    const steps = new Map([...this.#parts.steps].map(([name, { plain }]) => [name, plain]));
    return { executor: this.#parts.executor, steps };
  }
}

/** Refuses a literal name that a step has already; other names are checked when the program runs. */
type Fresh<Name extends string, Outputs> = string extends Name | keyof Outputs
  ? unknown
  : Name extends keyof Outputs
    ? never
    : unknown;

/** What may be said of a job. */
export type JobOptions<Schema extends z.ZodType = z.ZodType> = {
  /** Checks the input when a run is submitted, and again before a handler gets it. Left out: any JSON. */
  input?: Schema | undefined;
  /** Replaces the `executor` block of the configuration for this job's runs; `{}` limits nothing. */
  executor?: ExecutorOptions | undefined;
};

type OneStep<Submitted, Input, Output> = Job<Submitted, Input, Record<typeof ONLY_STEP, Stored<Output>>>;

/**
 * Defines a job. `job('ping', async () => 'pong')` has one step, named `run`; with options for job and step between
 * name and handler; without a handler the steps follow: `job('load', { input }).step('extract', …).step('copy', …)`.
 * @throws {ProblemsError} if an option is not allowed.
 */
export function job<Output>(
  name: string,
  handler: Handler<unknown, Record<never, never>, Output>,
): OneStep<unknown, unknown, Output>;
export function job<Output, Schema extends z.ZodType = z.ZodUnknown>(
  name: string,
  options: JobOptions<Schema> & Omit<StepOptions, 'after'>,
  handler: Handler<z.output<Schema>, Record<never, never>, Output>,
): OneStep<z.input<Schema>, z.output<Schema>, Output>;
export function job<Schema extends z.ZodType = z.ZodUnknown>(
  name: string,
  options?: JobOptions<Schema>,
): Job<z.input<Schema>, z.output<Schema>, Record<never, never>>;
export function job(
  name: string,
  first: AnyHandler | (JobOptions & StepOptions) = {},
  second?: AnyHandler,
): AnyJob {
  const [options, handler] = typeof first === 'function' ? [{}, first] : [first, second];
  const { input: schema, executor, ...step } = options as JobOptions & StepOptions;
  const plain = plainExecutor(executor);
  checkJob(name, plain, handler ? {} : step);
  const empty: AnyJob = new Job({ name, schema, executor: plain, steps: new Map() });
  return handler ? empty.step(ONLY_STEP, step, handler) : empty;
}

/**
 * A job whose definition is data, in the shape of a scenario file's `jobs`; one handler serves all of its steps.
 * @throws {ProblemsError} if the definition is not allowed.
 */
export function jobFromDefinition(
  name: string,
  definition: unknown,
  handler: (context: HandlerContext) => unknown,
): AnyJob {
  definitionFrom(name, definition);
  const { executor, steps } = definition as { executor?: unknown; steps: Record<string, Step['plain']> };
  const handled = Object.entries(steps).map(([step, plain]): [string, Step] => [step, { plain, handler }]);
  return new Job({ name, schema: undefined, executor, steps: new Map(handled) });
}

/**
 * What `register` stores of a job: everything but its handlers.
 * @throws {ProblemsError} if the job cannot be: no step, a limit of 0 in its executor block …
 */
export function definitionOf(job: AnyJob): JobDefinition {
  return definitionFrom(job.name, job.plain);
}

/**
 * Registers a job in the version that this process has, so that any client can submit it.
 * @throws {ProblemsError | InvalidInputError} if the job cannot be registered.
 */
export async function register(execute: Executor, job: AnyJob): Promise<{ job: string; version: string }> {
  const definition = definitionOf(job);
  await execute('select lockkeeper.register($1)', [JSON.stringify(definition)]);
  return { job: definition.job, version: definition.version };
}
