/** Cancel, force, priority, retry and limits: not committed or stopped in their middles, while another comes. */

import { openArena } from './arena.ts';
import { configuration, people } from './calls.ts';
import { tellPairs } from './pairs.ts';

tellPairs(await openArena(), [...people, ...configuration], {
  unstopped: ['submit to a branch', 'submit with a key'],
});
