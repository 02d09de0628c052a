/** What a configuration changes, in words. */

import type { PlannedChange, PlannedLimit } from '../../limits/apply.ts';
import type { Colours } from '../io.ts';
import { shownMatch } from './rows.ts';

type Change = PlannedChange['change'];

const signs: Record<Change, string> = { added: '+', removed: '-', changed: '~' };

/** `~ changed` */
export const signed = ({ change }: { change: Change }): string => `${signs[change]} ${change}`;

/** Green for what is added, red for what is removed, yellow for what is changed. */
export function paintChange(text: string, { green, red, yellow, dim }: Colours): string {
  if (text.endsWith('added')) return green(text);
  if (text.endsWith('removed')) return red(text);
  return text.endsWith('unchanged') ? dim(text) : yellow(text);
}

const isLimit = (value: PlannedChange['was']): value is PlannedLimit =>
  typeof value === 'object' && value !== null;

const fields: (keyof PlannedLimit)[] = [
  'counts',
  'match',
  'per',
  'capacity',
  'replaces',
  'part_of',
  'look_buffer',
];

/** A limit that is added or removed as a whole, or each field that changes: `capacity 3 → 5`. */
export function saidFields({ was, becomes }: PlannedChange): string {
  if (isLimit(was) && isLimit(becomes)) return between(was, becomes);
  const whole = isLimit(becomes) ? becomes : was;
  if (!isLimit(whole)) return `${shownDays(was)} → ${shownDays(becomes)}`;
  const match = shownMatch(whole.match);
  const per = whole.per.length === 0 ? '' : ` per ${whole.per.join(', ')}`;
  return `capacity ${shownField('capacity', whole)}: ${whole.counts}s${match === '' ? '' : ` of ${match}`}${per}`;
}

function between(was: PlannedLimit, becomes: PlannedLimit): string {
  return fields
    .filter((field) => differs(was[field], becomes[field]))
    .map((field) => `${field} ${shownField(field, was)} → ${shownField(field, becomes)}`)
    .join('; ');
}

const differs = (a: unknown, b: unknown) => JSON.stringify(a) !== JSON.stringify(b);

const shownDays = (value: PlannedChange['was']) => (value === null ? 'for ever' : String(value));

function shownField(field: keyof PlannedLimit, limit: PlannedLimit): string {
  const value = limit[field];
  if (field === 'match') return shownMatch(limit.match) || 'everything';
  if (field === 'capacity') return String(value ?? 'unlimited');
  return String(value ?? '') || 'none';
}
