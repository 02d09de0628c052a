/** What several blocks of the configuration share: settings with hints, and the three forms of a tag limit. */

import { z } from 'zod';
import { block, either, type limit, tagKey, tagValue } from '../schema/fields.ts';
import { says } from '../schema/problems.ts';
import { insteadOf } from './dagster.ts';

/** A block whose wrong names are told what to write: first by what this block knows, then by what Dagster calls it. */
export function settings<S extends z.core.$ZodLooseShape>(shape: S, local: Record<string, string> = {}) {
  return block(shape, (name) => (Object.hasOwn(local, name) ? local[name] : insteadOf(name)));
}

const perUniqueValue = settings({
  applyLimitPerUniqueValue: z.boolean({ error: says('true or false') }).meta({
    description: '`true`: the limit counts each value of the tag on its own.',
    leftOut: 'must be there',
  }),
}).transform((value) =>
  value.applyLimitPerUniqueValue ? { applyLimitPerUniqueValue: true as const } : undefined,
);

/** The three forms: without a value, with one, or with each unique value on its own. */
export function tagLimits(capacity: typeof limit) {
  const one = settings({
    key: tagKey.meta({ description: 'The key of the tag.', leftOut: 'must be there' }),
    value: either(perUniqueValue, tagValue).nullish().meta({
      description: 'The one value that is limited, or `{ applyLimitPerUniqueValue: true }`.',
      leftOut: 'all values together',
    }),
    limit: capacity.meta({ description: 'Slots of the limit, or of each value.', leftOut: 'must be there' }),
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
