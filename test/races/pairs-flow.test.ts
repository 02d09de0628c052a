/** Submit, lane, admit, claim and finish: not committed or stopped in their middles, while another comes. */

import { openArena } from './arena.ts';
import { flow } from './calls.ts';
import { tellPairs } from './pairs.ts';

tellPairs(await openArena(), flow, { unstopped: ['submit'] });
