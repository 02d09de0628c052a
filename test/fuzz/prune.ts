/** Takes away from a failure what it does not need: parts of its setting, and actions. */
import type { Setting } from '../model/model.ts';
import type { Action } from './actions.ts';
import { type Difference, replay } from './fuzz.ts';
import type { Product } from './product.ts';

const mostMilliseconds = 60_000n;

/** The least that still shows a difference of the same kind; what is reached when the time is over. */
export async function prune(product: Product, failure: Difference): Promise<Difference> {
  const kind = kindOf(failure);
  const until = process.hrtime.bigint() + mostMilliseconds * 1_000_000n;
  let least = failure;
  for (let smaller = true; smaller; ) {
    smaller = false;
    // What is no use is passed by; after a success the same place has something else.
    for (let place = 0; ; ) {
      const next = [...lesser(least)][place];
      if (!next || process.hrtime.bigint() > until) break;
      const found = await tryOut(product, ...next);
      if (found && kindOf(found) === kind) [least, smaller] = [found, true];
      else place += 1;
    }
  }
  return least;
}

/** What differs, without its names and numbers, so that it does not turn into something else. */
function kindOf({ lines }: Difference): string {
  return (lines[0] ?? '').replace(/[:{].*/s, '').replace(/\br\d+(\.\w+)?|\d+/g, '#');
}

async function tryOut(
  product: Product,
  setting: Setting,
  actions: Action[],
): Promise<Difference | undefined> {
  try {
    return await replay(product, setting, actions);
  } catch {
    return undefined; // Such a setting cannot be.
  }
}

/** Each without one thing. */
function* lesser({ setting, actions }: Difference): Generator<[Setting, Action[]]> {
  // The last one is where it shows.
  for (const place of actions.slice(0, -1).keys()) yield [setting, actions.toSpliced(place, 1)];
  for (const without of withoutOne(setting, 5)) yield [without, actions];
  for (const [place, action] of actions.entries())
    for (const without of withoutOne(action, 3)) yield [setting, actions.with(place, without)];
}

/** The value without one of its settings or list entries, outermost first, as deep as that. */
function* withoutOne<T>(value: T, depth: number): Generator<T> {
  if (typeof value !== 'object' || value === null || depth === 0) return;
  if (Array.isArray(value)) {
    if (value.length > 1) for (const place of value.keys()) yield value.toSpliced(place, 1) as T;
  } else {
    for (const name of Object.keys(value)) {
      if (needed.has(name)) continue;
      const { [name as keyof T]: _, ...rest } = value;
      yield rest as T;
    }
  }
  for (const [name, inner] of Object.entries(value)) {
    for (const less of withoutOne(inner, depth - 1)) {
      yield (Array.isArray(value) ? value.with(Number(name), less) : { ...value, [name]: less }) as T;
    }
  }
}

/** Without these it is another thing. */
const needed = new Set([
  'do',
  'rejected',
  'again',
  'late',
  'worker',
  'steps',
  'jobs',
  'submit',
  'job',
  'step',
  'attempt',
  'fails',
  'key',
  'limit',
]);
