import { createHash } from 'node:crypto';
import { z } from 'zod';
import { executorSchema } from '../config.ts';
import { executorLimitsOf, type LimitRow } from '../limits/compile.ts';
import { block, either, integer, mapOf, name, poolName, priority } from '../schema/fields.ts';
import {
  fieldOf,
  nearest,
  type Problem,
  ProblemsError,
  problemsOf,
  says,
  shown,
} from '../schema/problems.ts';
import { tagsSchema } from '../schema.ts';

/** The most steps that one job may have. */
export const MAX_STEPS = 4_000;

const HOUR_MS = 3_600_000;
const TEN_YEARS_SECONDS = 315_360_000;

const slots = integer(1);
const pools = either(
  mapOf(poolName, slots, 'a pool name, or pool names with a number of slots each'),
  poolName.transform((pool) => new Map([[pool, 1]])),
).transform((pools): Record<string, number> => Object.fromEntries(pools));

const timeoutError = says(`a number of seconds above 0, at most ${TEN_YEARS_SECONDS}`);
const timeout = z
  .number({ error: timeoutError })
  .refine((seconds) => seconds > 0 && seconds <= TEN_YEARS_SECONDS, { error: timeoutError })
  .transform((seconds) => Math.max(1, Math.round(seconds * 1_000)));

const factorError = says('a number from 1 to 1000');
const factor = z
  .number({ error: factorError })
  .refine((value) => value >= 1 && value <= 1_000, { error: factorError });

/** One step as data; times are in seconds (`timeout`) or milliseconds (`…_ms`). */
export const stepSchema = block({
  after: z.array(name, { error: says('a list of step names') }).nullish(),
  pool: pools.nullish(),
  tags: tagsSchema.nullish(),
  priority: priority.nullish(),
  max_attempts: integer(1).nullish(),
  max_losses: integer(0).nullish(),
  timeout: timeout.nullish(),
  backoff_ms: integer(0).nullish(),
  backoff_factor: factor.nullish(),
  backoff_max_ms: integer(0).nullish(),
});

/** A whole job as data. The order of the steps gives them their places; `after` may name later ones. */
const jobSchema = block({
  executor: executorSchema.nullish(),
  steps: mapOf(name, stepSchema, 'an object of steps, each with its name'),
});

type PlainStep = z.output<typeof stepSchema>;

/** One step as the SQL function `register` takes it. */
export type StepRow = {
  name: string;
  after: string[];
  pools: Record<string, number>;
  tags: Record<string, string>;
  priority: number;
  max_attempts: number;
  max_losses: number;
  timeout_ms: number | null;
  backoff_ms: number;
  backoff_factor: number;
  backoff_max_ms: number;
};

/** A job as the SQL function `register` takes it: steps in the order of their places, limits of its executor block. */
export type JobDefinition = { job: string; version: string; steps: StepRow[]; limits: LimitRow[] };

/**
 * The definition of a job that is given as data, in the shape of a scenario file's `jobs`.
 * @throws {ProblemsError} with every problem: the field below the job, the value, what is allowed.
 */
export function definitionFrom(job: string, value: unknown): JobDefinition {
  const named = name.safeParse(job);
  if (!named.success) throw new ProblemsError('The job', problemsOf(named.error, 'the name of the job'));
  const parsed = jobSchema.safeParse(value);
  if (!parsed.success) throw refused(job, problemsOf(parsed.error, 'the job'));
  const { executor, steps } = parsed.data;
  const problems = problemsOfGraph(steps);
  if (problems.length > 0) throw refused(job, problems);
  const rows = [...steps].map(([step, plain]) => rowOf(step, plain));
  return {
    job,
    version: versionOf({ executor: executor ? unordered(executor) : null, steps: rows }),
    steps: rows,
    limits: executorLimitsOf(job, executor),
  };
}

/** The error that a job is refused with. */
export function refused(job: string, problems: readonly Problem[]): ProblemsError {
  return new ProblemsError(`Job ${shown(job)}`, problems);
}

/** What to say of a step that `after` names and that is not there. */
export function noStep(name: string, what: string, steps: Iterable<string>): string {
  const near = nearest(name, steps);
  return `no ${what} of this job is named ${shown(name)}.${near === undefined ? '' : ` Did you mean ${shown(near)}?`}`;
}

function rowOf(name: string, step: PlainStep): StepRow {
  return {
    name,
    after: [...new Set(step.after ?? [])],
    pools: step.pool ?? {},
    tags: step.tags ?? {},
    priority: step.priority ?? 0,
    max_attempts: step.max_attempts ?? 1,
    max_losses: step.max_losses ?? 3,
    timeout_ms: step.timeout ?? null,
    backoff_ms: step.backoff_ms ?? 0,
    backoff_factor: step.backoff_factor ?? 2,
    backoff_max_ms: step.backoff_max_ms ?? HOUR_MS,
  };
}

function problemsOfGraph(steps: ReadonlyMap<string, PlainStep>): Problem[] {
  if (steps.size === 0) return [{ field: 'steps', message: 'empty; a job needs at least one step' }];
  if (steps.size > MAX_STEPS) {
    return [
      { field: 'steps', message: `${steps.size} steps are not allowed; allowed: at most ${MAX_STEPS}` },
    ];
  }
  const unknown = [...steps].flatMap(([step, { after }]) =>
    (after ?? []).flatMap((before, index) => {
      if (steps.has(before)) return [];
      return [
        { field: fieldOf(['steps', step, 'after', index]), message: noStep(before, 'step', steps.keys()) },
      ];
    }),
  );
  return unknown.length > 0 ? unknown : problemsOfCycles(steps);
}

function problemsOfCycles(steps: ReadonlyMap<string, PlainStep>): Problem[] {
  const waits = new Map([...steps].map(([step, { after }]) => [step, new Set(after ?? [])]));
  const dependents = new Map<string, string[]>([...steps.keys()].map((step) => [step, []]));
  for (const [step, befores] of waits) for (const before of befores) dependents.get(before)?.push(step);
  const startable = [...waits].filter(([, befores]) => befores.size === 0).map(([step]) => step);
  for (let step = startable.pop(); step !== undefined; step = startable.pop()) {
    waits.delete(step);
    for (const dependent of dependents.get(step) ?? []) {
      const befores = waits.get(dependent);
      if (befores?.delete(step) && befores.size === 0) startable.push(dependent);
    }
  }
  if (waits.size === 0) return [];
  const cycle = oneCycle(waits);
  const message = `the steps wait for each other in a circle: ${cycle.map(shown).join(' after ')}; take one of them out`;
  return [{ field: fieldOf(['steps', cycle[0] ?? '', 'after']), message }];
}

/** Every step that is left waits for one that is left, so a walk along them comes back to where it was. */
function oneCycle(waits: ReadonlyMap<string, ReadonlySet<string>>): string[] {
  const walk = new Set<string>();
  let [step] = waits.keys();
  while (step !== undefined && !walk.has(step)) {
    walk.add(step);
    [step] = waits.get(step) ?? [];
  }
  const path = [...walk];
  return [...path.slice(path.indexOf(step ?? '')), step ?? ''];
}

/** The block without the order of its limits, which changes nothing. */
function unordered(executor: NonNullable<z.output<typeof executorSchema>>) {
  const limits = [...(executor.tag_concurrency_limits ?? [])].map(canonical).sort();
  return { max_concurrent: executor.max_concurrent ?? null, tag_concurrency_limits: limits };
}

/** A hash of all that shapes scheduling; not of the handlers' code, which may change under the same version. */
function versionOf(shape: { executor: unknown; steps: readonly StepRow[] }): string {
  const steps = shape.steps.map((step) => ({ ...step, after: [...step.after].sort() }));
  return createHash('sha256')
    .update(canonical({ ...shape, steps }))
    .digest('hex')
    .slice(0, 16);
}

/** JSON with the names of every object in order. */
function canonical(value: unknown): string {
  return JSON.stringify(value, (_, inner) => {
    if (typeof inner !== 'object' || inner === null || Array.isArray(inner)) return inner;
    return Object.fromEntries(Object.entries(inner).sort(([a], [b]) => (a < b ? -1 : a > b ? 1 : 0)));
  });
}
