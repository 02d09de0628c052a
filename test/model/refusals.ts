/**
 * What must be refused, for whatever value comes out of a file: each check throws Refused, naming the field.
 */

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
