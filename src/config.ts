import { parseDocument, type YAMLError } from 'yaml';
import { z } from 'zod';
import { insteadOf } from './config/dagster.ts';
import {
  block,
  either,
  integer,
  limit,
  limitOfExecutor,
  mapOf,
  poolName,
  tagKey,
  tagValue,
  text,
} from './schema/fields.ts';
import { fieldOf, nearest, type Problem, ProblemsError, problemsOf, says, shown } from './schema/problems.ts';

/** The configuration was refused; `problems` has every field that is wrong. */
export class ConfigError extends ProblemsError {}

/** A block whose wrong names are told what to write: first by what this block knows, then by what Dagster calls it. */
function settings<S extends z.core.$ZodLooseShape>(shape: S, local: Record<string, string> = {}) {
  return block(shape, (name) => (Object.hasOwn(local, name) ? local[name] : insteadOf(name)));
}

const perUniqueValue = settings({
  applyLimitPerUniqueValue: z.boolean({ error: says('true or false') }),
}).transform((value) =>
  value.applyLimitPerUniqueValue ? { applyLimitPerUniqueValue: true as const } : undefined,
);

/** The three forms: without a value, with one, or with each unique value on its own. */
function tagLimits(capacity: typeof limit) {
  const one = settings({
    key: tagKey,
    value: either(perUniqueValue, tagValue).nullish(),
    limit: capacity,
  });
  return z
    .array(one, { error: says('a list of tag limits, each with key, limit and perhaps value') })
    .superRefine(refuseTwice, { when: () => true })
    .nullish();
}

/** Runs beside the checks of the entries, so what it sees may be anything. */
function refuseTwice(limits: unknown, context: z.RefinementCtx) {
  if (!Array.isArray(limits)) return;
  const seen = new Map<string, number>();
  for (const [index, entry] of limits.entries()) {
    const form = formOf(entry);
    if (form === undefined) continue;
    const first = seen.get(form);
    if (first === undefined) {
      seen.set(form, index);
      continue;
    }
    const message = `the limit with ${form} stands here twice, first as number ${first + 1}; keep one of them`;
    context.addIssue({ code: 'custom', path: [index], message });
  }
}

function formOf(entry: { key?: unknown; value?: unknown } | null | undefined): string | undefined {
  if (typeof entry?.key !== 'string') return undefined;
  const key = `key ${JSON.stringify(entry.key)}`;
  const { value } = entry;
  if (value === undefined || value === null) return `${key} and no value`;
  if (typeof value === 'string') return `${key} and value ${JSON.stringify(value)}`;
  return isPerUniqueValue(value) ? `${key} and applyLimitPerUniqueValue` : undefined;
}

function isPerUniqueValue(value: unknown): boolean {
  return typeof value === 'object' && value !== null && 'applyLimitPerUniqueValue' in value;
}

const runs = settings(
  { max_concurrent_runs: limit.optional(), tag_concurrency_limits: tagLimits(limit) },
  { max_concurrent: 'no such setting here; write `max_concurrent_runs`' },
);

/** What limits the steps inside each single run. A job's own block has the same shape. */
export const executorSchema = settings(
  { max_concurrent: limitOfExecutor.optional(), tag_concurrency_limits: tagLimits(limitOfExecutor) },
  { max_concurrent_runs: 'no such setting here; write `max_concurrent` for the steps inside one run' },
);

const scope = z.enum(['all', 'deployment'], { error: says('all or deployment') }).nullish();

const pool = either(
  settings({ limit: limit.optional(), scope }),
  limit.transform((value) => ({ limit: value, scope: undefined })),
);

const poolSettings = {
  default_limit: limit.optional(),
  granularity: z
    .enum(['step', 'op', 'run'], { error: says('step (or op, which is the same) or run') })
    .transform((value) => (value === 'op' ? 'step' : value))
    .nullish(),
  scope,
  op_granularity_run_buffer: integer(0).nullish(),
  limits: mapOf(poolName, pool, 'pool names, each with its limit').nullish(),
};

const pools = block(poolSettings, (name) => {
  const known = insteadOf(name) ?? nearest(name, Object.keys(poolSettings));
  if (known === undefined)
    return 'no such setting; the limit of a pool of this name goes to `concurrency.pools.limits`';
  return insteadOf(name);
});

const TOTAL = 'max_concurrent_branch_deployment_runs';
const EACH = 'max_concurrent_runs_per_branch_deployment';

const branchDeployments = settings(
  {
    [TOTAL]: limit.optional(),
    [EACH]: limit.optional(),
    branch_deployment_tag_concurrency_limits: tagLimits(limit),
    pools: mapOf(poolName, limit, 'pool names, each with the limit for all branch deployments').nullish(),
  },
  {
    max_concurrent_runs: `no such setting here; write \`${TOTAL}\` for all together or \`${EACH}\` for each`,
    tag_concurrency_limits: 'no such setting here; write `branch_deployment_tag_concurrency_limits`',
  },
).superRefine(refuseEachAboveTotal, { when: () => true });

function refuseEachAboveTotal(block: { [TOTAL]?: unknown; [EACH]?: unknown }, context: z.RefinementCtx) {
  const total = block?.[TOTAL];
  const each = block?.[EACH];
  if (typeof total !== 'number' || typeof each !== 'number' || total <= 0 || each <= total) return;
  const message = `${each} is above ${total}, the limit of all branch deployments together (${TOTAL}); lower this one or raise that`;
  context.addIssue({ code: 'custom', path: [EACH], message });
}

const NOT_PER_DEPLOYMENT = 'cannot be set for one deployment; write it under `concurrency`';

const deployment = settings(
  { runs: runs.nullish() },
  {
    max_concurrent_runs: 'write it as `runs.max_concurrent_runs` of this deployment',
    tag_concurrency_limits: 'write it as `runs.tag_concurrency_limits` of this deployment',
    concurrency: 'no such setting here; write `runs` directly under the name of the deployment',
    pools: `${NOT_PER_DEPLOYMENT}, with \`scope: deployment\` if each deployment has its own slots`,
    executor: NOT_PER_DEPLOYMENT,
    branch_deployments: NOT_PER_DEPLOYMENT,
    kind: 'no such setting here; the command `lockkeeper deployments add` says the kind of a deployment',
  },
);

/**
 * The configuration, in the shape of `lockkeeper.yaml`. Everything is optional; null is the same as left out, save for
 * a pool under `limits`, where it means unlimited. Unlimited (-1, null) comes out as null.
 */
export const configSchema = settings({
  concurrency: settings({
    runs: runs.nullish(),
    pools: pools.nullish(),
    executor: executorSchema.nullish(),
    branch_deployments: branchDeployments.nullish(),
  }).nullish(),
  deployments: mapOf(text, deployment.nullish(), 'deployment names, each with its own runs block').nullish(),
});

/** A checked configuration: what `parseConfig` returns and `limitsOf` takes. */
export type Config = z.output<typeof configSchema>;
/** The `executor` block of the configuration or of a job, checked. */
export type ExecutorBlock = z.output<typeof executorSchema>;
/** A `runs` block, checked. */
export type RunsBlock = z.output<typeof runs>;
/** One entry of a list of tag limits, checked. */
export type TagLimit = NonNullable<RunsBlock['tag_concurrency_limits']>[number];

/**
 * Checks a configuration that is already data, such as JSON. Nothing at all limits nothing.
 * @throws {ConfigError} with every problem: the field, the value, what is allowed, what to do.
 */
export function parseConfig(value: unknown): Config {
  const result = configSchema.safeParse(value ?? {});
  if (!result.success)
    throw new ConfigError('The configuration', problemsOf(result.error, 'the configuration'));
  return result.data;
}

/**
 * Reads and checks the text of `lockkeeper.yaml`.
 * @throws {ConfigError} for bad YAML with line and column, else as `parseConfig`.
 */
export function readConfig(yaml: string): Config {
  // Names stay the strings that were written: a pool called 010 is not the pool 8 or 10.
  const document = parseDocument(yaml, { merge: true, stringKeys: true });
  const problems = [...document.errors, ...document.warnings].map(yamlProblem);
  if (problems.length > 0) throw new ConfigError('The YAML', problems);
  let value: unknown;
  try {
    value = document.toJS();
  } catch (error) {
    throw new ConfigError('The YAML', [{ field: 'the file', message: (error as Error).message }]);
  }
  return parseConfig(value);
}

function yamlProblem({ code, linePos, message }: YAMLError): Problem {
  const field = linePos ? `line ${linePos[0].line}, column ${linePos[0].col}` : 'the file';
  if (code === 'DUPLICATE_KEY')
    return { field, message: 'the same name stands in this block twice; keep one of them' };
  if (code === 'MULTIPLE_DOCS')
    return { field, message: 'a second document begins here; only one is allowed' };
  const what = message.replace(/ at line \d+, column \d+:[\s\S]*$/, '');
  return { field, message: code === 'TAG_RESOLVE_FAILED' ? `${what}; write the value itself` : what };
}

/**
 * Checks what a configuration says of deployments against those that exist, by name and kind.
 * @throws {ConfigError} for a `runs` block of a branch deployment or of one that does not exist.
 */
export function checkDeployments(
  config: Config,
  { deployments }: { deployments: Readonly<Record<string, 'full' | 'branch'>> },
): void {
  const problems: Problem[] = [];
  for (const [name, own] of config.deployments ?? []) {
    if (!own?.runs) continue;
    const kind = Object.hasOwn(deployments, name) ? deployments[name] : undefined;
    if (kind === 'full') continue;
    const near = nearest(name, Object.keys(deployments));
    const message =
      kind === 'branch'
        ? `${shown(name)} is a branch deployment; branches are limited under \`concurrency.branch_deployments\` only`
        : `no deployment is named ${shown(name)}.${near === undefined ? '' : ` Did you mean ${shown(near)}?`} ` +
          'Add it first (`lockkeeper deployments add NAME --kind full`), or leave the block out';
    problems.push({ field: fieldOf(['deployments', name, 'runs']), message });
  }
  if (problems.length > 0) throw new ConfigError('The configuration', problems);
}
