/** Limits and deployments in the database. */

import { type Config, checkDeployments, parseConfig, settingsOf } from '../config.ts';
import { type Executor, untilDone } from '../database.ts';
import { type LimitRow, limitsOf } from './compile.ts';

/** What `apply` did to a limit, or to a setting such as `retention_days`. */
export type LimitChange = { name: string; change: 'added' | 'removed' | 'changed' };

/** A limit as a plan compares it: without its name; a capacity that is a text names an attribute of the subject. */
export type PlannedLimit = Omit<LimitRow, 'name' | 'capacity'> & { capacity: number | string | null };

/** What `apply` would do; of a setting, its value before and after. */
export type PlannedChange = LimitChange & {
  was: PlannedLimit | number | null;
  becomes: PlannedLimit | number | null;
  /** Whether what waits must be laned again for it: another capacity alone does not need that. */
  lanes_again: boolean;
};

/** One row of the view `limits`. */
export type LimitState = {
  name: string;
  counts: 'run' | 'step';
  match: Record<string, string | true>;
  per: string[];
  /** What counts: the override, if there is one. Null is unlimited. */
  capacity: number | null;
  source: string;
  /** The capacity without the override. */
  configured: number | null;
  override: number | null;
  override_by: string | null;
  override_why: string | null;
  override_at: Date | null;
  override_until: Date | null;
};

/** One key in use, as the view `keys` has it. */
export type KeyState = {
  key: string;
  limit: string;
  inUse: number;
  asked: number;
  capacity: number | null;
};

export type DeploymentKind = 'full' | 'branch';

/** The arguments of `apply_limits` and `plan_limits`, from a configuration that is checked here. */
async function argumentsOf(execute: Executor, value: unknown): Promise<[string, string]> {
  const config: Config = parseConfig(value);
  checkDeployments(config, { deployments: await deploymentKinds(execute) });
  return [JSON.stringify(limitsOf(config)), JSON.stringify(settingsOf(config))];
}

/**
 * Replaces the whole configuration, in one transaction, and answers what changed. What is live counts at once;
 * overrides stay.
 * @throws {ConfigError} that names every wrong field; then nothing has changed.
 */
export async function applyConfig(execute: Executor, value: unknown): Promise<LimitChange[]> {
  const values = await argumentsOf(execute, value);
  const { rows } = await execute('select * from lockkeeper.apply_limits($1, $2)', values);
  return rows as LimitChange[];
}

/**
 * What `applyConfig` would change; changes nothing. Empty: the database is as the configuration says.
 * @throws {ConfigError}
 */
export async function planConfig(execute: Executor, value: unknown): Promise<PlannedChange[]> {
  const values = await argumentsOf(execute, value);
  const { rows } = await execute('select * from lockkeeper.plan_limits($1, $2)', values);
  return rows as PlannedChange[];
}

/** The deployments that take submissions, and their kinds. */
export async function deploymentKinds(execute: Executor): Promise<Record<string, DeploymentKind>> {
  const { rows } = await execute(
    'select deployment, kind from lockkeeper.deployments where ended_at is null',
    [],
  );
  return Object.fromEntries(rows.map(({ deployment, kind }) => [deployment, kind]));
}

/**
 * Adds a deployment; repeated, it changes nothing. One that had ended is taken up again.
 * @throws {ConflictError} when it exists with another kind.
 */
export async function addDeployment(execute: Executor, name: string, kind: DeploymentKind): Promise<void> {
  await execute('select lockkeeper.add_deployment($1, $2)', [name, kind]);
}

/**
 * Ends a deployment: it takes no submissions any more. What becomes of its queued runs: `refuse` to delete it while
 * there are live runs, `cancel` them, or `keep` them, and they still run. Answers how many were canceled.
 * @throws {UnknownDeploymentError | ConflictError}
 */
export async function deleteDeployment(
  execute: Executor,
  name: string,
  queued: 'refuse' | 'cancel' | 'keep',
): Promise<number> {
  type Deleted = { canceled: number; more: boolean };
  const statement = 'select * from lockkeeper.delete_deployment($1, $2)';
  const answers = await untilDone<Deleted>(execute, statement, [name, queued]);
  return answers.reduce((sum, { canceled }) => sum + canceled, 0);
}

/** All limits, in the order of their names. */
export async function listLimits(execute: Executor): Promise<LimitState[]> {
  const { rows } = await execute('select * from lockkeeper.limits order by name, source', []);
  return rows as LimitState[];
}

/** The keys in use, in the order of their names. */
export async function listKeys(execute: Executor): Promise<KeyState[]> {
  const { rows } = await execute('select * from lockkeeper.keys order by key', []);
  return rows.map((row) => ({
    key: String(row.key),
    limit: String(row.limit),
    inUse: Number(row.in_use),
    asked: Number(row.asked),
    capacity: row.capacity === null ? null : Number(row.capacity),
  }));
}
