/** What the commands for limits read and write, without a database. */

import { InvalidArgumentError } from 'commander';
import pc from 'picocolors';
import { expect, test } from 'vitest';
import { paintChange, saidFields, signed } from '../src/cli/limits/changes.ts';
import { duration, time } from '../src/cli/limits/reason.ts';
import type { PlannedChange, PlannedLimit } from '../src/index.ts';

const warehouse: PlannedLimit = {
  counts: 'step',
  match: { pool: 'warehouse' },
  per: [],
  capacity: 3,
  replaces: ['pool.*'],
  part_of: [],
  look_buffer: 0,
};
const changed = (becomes: Partial<PlannedLimit>): PlannedChange => ({
  name: 'pool.warehouse',
  change: 'changed',
  was: warehouse,
  becomes: { ...warehouse, ...becomes },
  lanes_again: false,
});
const added: PlannedChange = {
  name: 'pool.warehouse',
  change: 'added',
  was: null,
  becomes: warehouse,
  lanes_again: true,
};
const removed: PlannedChange = {
  name: 'pool.warehouse',
  change: 'removed',
  was: warehouse,
  becomes: null,
  lanes_again: true,
};
const days = (was: number | null, becomes: number | null): PlannedChange => ({
  name: 'retention_days',
  change: 'changed',
  was,
  becomes,
  lanes_again: false,
});

test.each([
  [added, 'capacity 3: steps of pool=warehouse'],
  [removed, 'capacity 3: steps of pool=warehouse'],
  [changed({ capacity: 5 }), 'capacity 3 → 5'],
  [changed({ capacity: 0 }), 'capacity 3 → 0'],
  [changed({ capacity: null, counts: 'run' }), 'counts step → run; capacity 3 → unlimited'],
  [changed({ match: {}, per: ['pool', 'job'] }), 'match pool=warehouse → everything; per none → pool,job'],
  [changed({ replaces: [], look_buffer: null }), 'replaces pool.* → none; look_buffer 0 → none'],
  [changed({ match: { job: true, 'tag.size': 'big' } }), 'match pool=warehouse → job tag.size=big'],
  [days(30, 60), '30 → 60'],
  [days(null, 7), 'for ever → 7'],
])('what a change is, in words: %#', (change, words) => {
  expect(saidFields(change)).toBe(words);
});

test('green is added, red is removed, yellow is changed', () => {
  const colours = pc.createColors(true);
  const painted = [added, removed, changed({})].map((change) => paintChange(signed(change), colours));
  expect(painted).toEqual([colours.green('+ added'), colours.red('- removed'), colours.yellow('~ changed')]);
  expect(paintChange('unchanged', colours)).toBe(colours.dim('unchanged'));
});

test.each([
  ['90s', 90],
  ['30m', 1_800],
  ['2h', 7_200],
  ['1d12h', 129_600],
  ['2w', 1_209_600],
  ['36500d', 3_153_600_000],
])('%s is so many seconds', (text, seconds) => {
  expect(duration(text)).toBe(seconds);
});

test.each(['', '0s', '30', 'm', '-5m', '1.5h', '12h1d', '36501d', '99999999999999999999d', '1 h'])(
  '%j is no duration',
  (text) => {
    expect(() => duration(text)).toThrow(InvalidArgumentError);
  },
);

test('a time has a zone', () => {
  expect(time('2026-01-31T06:00:00+01:00')).toBe('2026-01-31T06:00:00+01:00');
  for (const text of ['2026-01-31', '2026-01-31T06:00:00', 'tomorrow', '2026-13-31T06:00:00Z'])
    expect(() => time(text)).toThrow('with its zone');
});
