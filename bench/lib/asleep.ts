/** Waits for the coordinator to be through with what was submitted. */

import { setTimeout as delay } from 'node:timers/promises';
import type { Database } from '../../src/database.ts';

/** Whose coordinator works. */
type Where = { database: Pick<Database, 'execute'> };

async function until({ database }: Where, nothing: string, everyMs: number): Promise<void> {
  for (;;) {
    const { rows } = await database.execute(`select ${nothing} as found from lockkeeper.todo()`, []);
    if (rows[0]?.found === false) return;
    await delay(everyMs);
  }
}

/** Resolves when nothing is to be laned and no lane of runs is open: whoever waits sleeps. */
export const asleep = (where: Where, everyMs = 1): Promise<void> => until(where, 'lane or admit', everyMs);

/** Resolves when nothing waits without a lane, or in one that was made under other limits. */
export const laned = (where: Where, everyMs = 20): Promise<void> => until(where, 'lane', everyMs);
