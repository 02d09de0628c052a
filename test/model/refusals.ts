/**
 * What must be refused, for whatever value comes out of a file: each check throws Refused, naming the field.
 */

import type { JobDefinition, Submission } from './format.ts';

/** Something that must be refused; the message names the field. */
export class Refused extends Error {}

export type Fields = Record<string, unknown>;

/** An object with no other settings than the allowed ones; what is left out or null is empty. */
export function settings(value: unknown, path: string, allowed?: string[]): Fields {
  const fields = value ?? {};
  if (typeof fields !== 'object' || Array.isArray(fields)) throw new Refused(`${path}: must be settings`);
  const unknown = Object.keys(fields).find((name) => allowed && !allowed.includes(name));
  if (unknown !== undefined) throw new Refused(`${path}.${unknown}: unknown setting`);
  return fields as Fields;
}

/** A limit as a number, null for unlimited. */
export function capacityOf(value: unknown, path: string, zero = true): number | null {
  if (value === undefined || value === null || value === -1) return null;
  if (!Number.isInteger(value) || (value as number) < -1) throw new Refused(`${path}: an integer from -1`);
  if (value === 0 && !zero) throw new Refused(`${path}: 0 would never end`);
  return value as number;
}

export function oneOf(value: unknown, path: string, allowed: string[]): string {
  if (!allowed.includes(value as string)) throw new Refused(`${path}: one of ${allowed.join(', ')}`);
  return value as string;
}

/** Names of pools and keys of tags. */
export function checkName(name: unknown, path: string): void {
  if (typeof name === 'string' && /^[A-Za-z0-9_./:-]+$/.test(name)) return;
  throw new Refused(`${path}: only letters, digits and _./:-`);
}

/** Values of tags. */
export function checkText(value: unknown, path: string): void {
  if (typeof value === 'string' && !value.includes('\0') && value.isWellFormed()) return;
  throw new Refused(`${path}: a string without NUL or lone surrogates`);
}

/** What a submission says, with what it leaves out. `own`: the attribute of steps that its max_concurrent gives. */
export function checkSubmission(
  { submit: name, job, tags, priority = 0, deployment = 'default', max_concurrent }: Submission,
  jobs: Record<string, unknown>,
  deployments: Record<string, unknown>,
) {
  checkPriority(priority, 'priority');
  checkTags(tags, 'tags');
  const own = capacityOf(max_concurrent ?? null, 'max_concurrent', false);
  return {
    name,
    job: known(job, jobs, 'job'),
    deployment: known(deployment, deployments, 'deployment'),
    tags: tags as Record<string, string> | undefined,
    priority: priority as number,
    own: own === null ? {} : { max_concurrent: String(own) },
  };
}

/** Refuses steps that no worker may register. */
export function checkSteps(job: string, steps: JobDefinition['steps']): void {
  for (const [name, { priority = 0, tags, pool = {} }] of Object.entries(steps)) {
    const path = `jobs.${job}.steps.${name}`;
    checkPriority(priority, `${path}.priority`);
    checkTags(tags, `${path}.tags`);
    for (const [name, slots] of Object.entries(typeof pool === 'string' ? { [pool]: 1 } : pool)) {
      checkName(name, `${path}.pool`);
      if (!Number.isInteger(slots) || slots < 1) throw new Refused(`${path}.pool.${name}: at least 1`);
    }
  }
}

function known(name: unknown, all: Record<string, unknown>, field: string): string {
  if (typeof name === 'string' && Object.hasOwn(all, name)) return name;
  throw new Refused(`${field}: there is no such ${field}`);
}

function checkPriority(priority: unknown, path: string): void {
  if (Number.isInteger(priority) && priority === ((priority as number) | 0)) return;
  throw new Refused(`${path}: a 32-bit integer`);
}

function checkTags(tags: unknown, path: string): void {
  for (const [key, value] of Object.entries(settings(tags, path))) {
    checkName(key, `${path}.${key}`);
    checkText(value, `${path}.${key}`);
  }
}
