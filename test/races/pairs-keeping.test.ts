/** Leases, sweep and what else nobody else does: not committed or stopped in their middles, while another comes. */

import { openArena } from './arena.ts';
import { keeping } from './calls.ts';
import { tellPairs } from './pairs.ts';

tellPairs(await openArena(), keeping, { unstopped: ['archive', 'take_ticket_changes'] });
