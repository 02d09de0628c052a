/** Limits and deployments in the database. */

import { type Config, checkDeployments, parseConfig } from '../config.ts';
import type { Executor } from '../database.ts';
import { limitsOf } from './compile.ts';

/** What `apply` did to a limit. */
export type LimitChange = { name: string; change: 'added' | 'removed' | 'changed' };

/** One row of the view `limits`. */
export type LimitState = {
  name: string;
  counts: 'run' | 'step';
  match: Record<string, string | true>;
  per: string[];
  capacity: number | null;
  source: string;
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

/**
 * Replaces the whole configuration, in one transaction, and answers what changed. What is live counts at once.
 * @throws {ConfigError} that names every wrong field; then nothing has changed.
 */
export async function applyConfig(execute: Executor, value: unknown): Promise<LimitChange[]> {
  const config: Config = parseConfig(value);
  checkDeployments(config, { deployments: await deploymentKinds(execute) });
  const { rows } = await execute('select * from lockkeeper.apply_limits($1)', [
    JSON.stringify(limitsOf(config)),
  ]);
  return rows as LimitChange[];
}

/** The deployments and their kinds. */
export async function deploymentKinds(execute: Executor): Promise<Record<string, DeploymentKind>> {
  const { rows } = await execute('select deployment, kind from lockkeeper.deployments', []);
  return Object.fromEntries(rows.map(({ deployment, kind }) => [deployment, kind]));
}

/**
 * Adds a deployment; repeated, it changes nothing.
 * @throws {ConflictError} when it exists with another kind.
 */
export async function addDeployment(execute: Executor, name: string, kind: DeploymentKind): Promise<void> {
  await execute('select lockkeeper.add_deployment($1, $2)', [name, kind]);
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
