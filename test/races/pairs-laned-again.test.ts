/** The same while all that waits has yet to be laned again, under limits that have just changed. */

import { openArena } from './arena.ts';
import { calls } from './calls.ts';
import { tellPairs } from './pairs.ts';

const arena = await openArena({
  before: `select * from lockkeeper.apply_limits(races.limit_rows(3, 10) || '[
    { "name": "jobs", "counts": "run", "match": { "job": true }, "per": ["job"], "capacity": 3 },
    { "name": "steps", "counts": "step", "match": { "job": true }, "per": ["job"], "capacity": 2, "look_buffer": 1 }]')`,
});
const names = new Set([
  'lane',
  'admit',
  'claim of a',
  'finish of extract and scan',
  'cancel of what waits',
  'set_priority',
  'force',
]);
tellPairs(
  arena,
  calls.filter(({ name }) => names.has(name)),
  { unstopped: ['claim of a'], every: 12 },
);
