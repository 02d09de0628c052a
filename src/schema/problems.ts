import type { z } from 'zod';
import { InvalidInputError } from '../errors.ts';

/** One thing that is wrong with an input: the full path of its field, and what is wrong, allowed and to be done. */
export type Problem = { field: string; message: string };

/** An input was refused. It carries every problem found, not only the first; the message lists them all. */
export class ProblemsError extends InvalidInputError {
  readonly problems: readonly Problem[];

  /** `subject` says in words what was read: `The configuration`. */
  constructor(subject: string, problems: readonly Problem[]) {
    const lines = problems.map(({ field, message }) => `${field}: ${message}`);
    const many = `${lines.length} problems\n  ${lines.join('\n  ')}`;
    super(`${subject}: ${lines.length === 1 ? lines[0] : many}`);
    this.problems = problems;
  }
}

/** A path as people write it: `concurrency.runs.tag_concurrency_limits[1].limit`, `tags["odd key"]`. */
export function fieldOf(path: readonly PropertyKey[], root = ''): string {
  const field = path.reduce<string>((before, part) => {
    if (typeof part === 'number') return `${before}[${part}]`;
    const name = String(part);
    if (!/^[A-Za-z0-9_-]+$/.test(name)) return `${before}[${JSON.stringify(name)}]`;
    return before === '' ? name : `${before}.${name}`;
  }, '');
  return field === '' ? root : field;
}

/** A value as it stands in a message: as JSON, cut where it is long. */
export function shown(value: unknown): string {
  if (typeof value === 'number' || typeof value === 'bigint') return String(value);
  if (typeof value === 'function' || typeof value === 'symbol') return `a ${typeof value}`;
  let text: string;
  try {
    text = JSON.stringify(value) ?? 'undefined';
  } catch {
    return 'a value that is no JSON';
  }
  return text.length > 80 ? `${text.slice(0, 77)}…` : text;
}

/** A zod error function: names the value and what is allowed instead. */
export function says(allowed: string): (issue: { input?: unknown }) => string {
  return ({ input }) =>
    input === undefined ? `missing; write ${allowed}` : `${shown(input)} is not allowed; allowed: ${allowed}`;
}

/**
 * The problems of a zod error. Unknown names are one issue in zod, but a problem each here: their schema (see `block`)
 * has a line for each of them in its message.
 */
export function problemsOf(error: Pick<z.ZodError, 'issues'>, root = 'the value'): Problem[] {
  return error.issues.flatMap((issue) => {
    if (issue.code !== 'unrecognized_keys')
      return [{ field: fieldOf(issue.path, root), message: issue.message }];
    const lines = issue.message.split('\n');
    return issue.keys.map((key, i) => ({
      field: fieldOf([...issue.path, key]),
      message: lines[i] ?? issue.message,
    }));
  });
}

/** What to say of a name that is not among the allowed ones. */
export function unknownName(name: string, allowed: readonly string[]): string {
  const near = nearest(name, allowed);
  const hint = near === undefined ? '' : ` Did you mean \`${near}\`?`;
  return `no such setting.${hint} Allowed here: ${allowed.join(', ')}`;
}

/** The candidate that was probably meant, if any is near: other case and separators are no distance at all. */
export function nearest(name: string, candidates: Iterable<string>): string | undefined {
  const bare = (text: string) => text.toLowerCase().replaceAll(/[^a-z0-9]/g, '');
  let best: { candidate: string; distance: number } | undefined;
  for (const candidate of candidates) {
    const distance = editDistance(bare(name).slice(0, 100), bare(candidate).slice(0, 100));
    if (distance > Math.max(2, candidate.length / 3)) continue;
    if (!best || distance < best.distance) best = { candidate, distance };
  }
  return best?.candidate;
}

function editDistance(a: string, b: string): number {
  let row = Array.from({ length: b.length + 1 }, (_, i) => i);
  for (let i = 1; i <= a.length; i++) {
    const next = [i];
    for (let j = 1; j <= b.length; j++) {
      const replaced = (row[j - 1] ?? 0) + (a[i - 1] === b[j - 1] ? 0 : 1);
      next.push(Math.min(replaced, (row[j] ?? 0) + 1, (next[j - 1] ?? 0) + 1));
    }
    row = next;
  }
  return row[b.length] ?? 0;
}
