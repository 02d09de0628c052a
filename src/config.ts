import { parseDocument, type YAMLError } from 'yaml';
import { z } from 'zod';
import { settings, tagLimits } from './config/blocks.ts';
import { insteadOf } from './config/dagster.ts';
import { block, either, integer, limit, limitOfExecutor, mapOf, poolName, text } from './schema/fields.ts';
import { fieldOf, nearest, type Problem, ProblemsError, problemsOf, says, shown } from './schema/problems.ts';

/** The configuration was refused; `problems` has every field that is wrong. */
export class ConfigError extends ProblemsError {}

const runs = settings(
  {
    max_concurrent_runs: limit.optional().meta({
      description: 'Runs at once, of each full deployment on its own. Key: `runs{default}`.',
    }),
    tag_concurrency_limits: tagLimits(limit).meta({
      description: 'Runs at once that have a tag. Key: `runs.tag.customer=acme{default}`.',
    }),
  },
  { max_concurrent: 'no such setting here; write `max_concurrent_runs`' },
);

/** What limits the steps inside each single run. A job's own block has the same shape. */
export const executorSchema = settings(
  {
    max_concurrent: limitOfExecutor.optional().meta({
      description: 'Steps at once inside each run. Key: `executor{17}` of run 17.',
    }),
    tag_concurrency_limits: tagLimits(limitOfExecutor).meta({
      description: 'Steps at once inside each run that have a tag. Key: `executor.tag.size=big{17}`.',
    }),
  },
  { max_concurrent_runs: 'no such setting here; write `max_concurrent` for the steps inside one run' },
);

const scope = z.enum(['all', 'deployment'], { error: says('all or deployment') }).nullish();

const pool = either(
  settings({
    limit: limit.optional().meta({ description: 'Slots of the pool.' }),
    scope: scope.meta({
      description: '`deployment`: each deployment has slots of its own.',
      leftOut: '`pools.scope`',
    }),
  }),
  limit.transform((value) => ({ limit: value, scope: undefined })),
);

const poolSettings = {
  default_limit: limit.optional().meta({
    description: 'Slots of each pool that `limits` does not name. Key: `pool.*{files}`.',
  }),
  granularity: z
    .enum(['step', 'op', 'run'], { error: says('step (or op, which is the same) or run') })
    .transform((value) => (value === 'op' ? 'step' : value))
    .nullish()
    .meta({
      description:
        'Who holds the slots: a step while it runs, or its run from admission to end, as many as its greediest step asks.',
      leftOut: '`step`',
    }),
  scope: scope.meta({
    description: 'Whether all deployments share the slots, or each `deployment` has its own.',
    leftOut: '`all`',
  }),
  op_granularity_run_buffer: integer(0).nullish().meta({
    description:
      'Admission looks ahead: a run stays queued while none of its first steps has room. So many more slots count as room.',
    leftOut: '0',
  }),
  limits: mapOf(poolName, pool, 'pool names, each with its limit').nullish().meta({
    description: 'Slots of a pool; replaces `default_limit` for it. Key: `pool.warehouse`.',
    entry: 'POOL',
  }),
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
    [TOTAL]: limit.optional().meta({
      description: 'Runs at once of all branch deployments together. Key: `branches`.',
    }),
    [EACH]: limit.optional().meta({
      description: 'Runs at once of each branch deployment. Key: `branches.each{pr-1}`.',
    }),
    branch_deployment_tag_concurrency_limits: tagLimits(limit).meta({
      description:
        'Runs at once that have a tag, of all branch deployments together. Key: `branches.tag.backfill`.',
    }),
    pools: mapOf(poolName, limit, 'pool names, each with the limit for all branch deployments')
      .nullish()
      .meta({
        description:
          "Slots of a pool that all branch deployments together may use; the pool's own limit counts them too. Key: `branches.pool.warehouse`.",
        entry: 'POOL',
      }),
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

/** Days, up to a hundred years; `note` says what null is for. */
function days(note: string) {
  const error = says(`an integer from 1 to 36500, or null ${note}`);
  return z
    .number({ error })
    .refine((value) => Number.isInteger(value) && value >= 1 && value <= 36_500, { error })
    .nullish()
    .meta({ allowed: 'integer from 1 to 36500, or `null`' });
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
 * a pool under `limits`, where it means unlimited, and for days, where it means for ever. Unlimited (-1, null) comes out
 * as null. The texts are those of docs/configuration.md.
 */
export const configSchema = settings({
  concurrency: settings({
    runs: runs.nullish(),
    pools: pools.nullish(),
    executor: executorSchema.nullish(),
    branch_deployments: branchDeployments.nullish(),
  }).nullish(),
  deployments: mapOf(text, deployment.nullish(), 'deployment names, each with its own runs block')
    .nullish()
    .meta({
      description: 'A full deployment with a `runs` block of its own.',
      entry: 'DEPLOYMENT',
    }),
  retention_days: days('to keep them for ever').meta({
    description: 'Runs that ended so many days ago are dropped. `null` keeps them for ever.',
    leftOut: '30',
  }),
  branch_deployment_days: days('to never end them').meta({
    description: 'A branch deployment without a run for so many days ends by itself. `null`: never.',
    leftOut: '14',
  }),
});

/** Settings that are no limits; what is left out has its default in the database. */
export type Settings = { retention_days?: number | null; branch_deployment_days?: number | null };

/** The settings of a checked configuration that were written down. */
export function settingsOf(config: Config): Settings {
  const { retention_days, branch_deployment_days } = config;
  return {
    ...(retention_days === undefined ? {} : { retention_days }),
    ...(branch_deployment_days === undefined ? {} : { branch_deployment_days }),
  };
}

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
