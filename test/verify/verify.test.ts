/** The models hold and their faults are found: the short form, where Spin and gcc are installed. `npm run verify` is the long one. */

import { describe, expect, test } from 'vitest';
import { cases, nameOf } from './cases.ts';
import { isAsExpected, missingPrograms, search } from './spin.ts';

const missing = await missingPrograms();
const short = cases.filter(({ long }) => !long);

describe.skipIf(missing.length > 0)(
  missing.length > 0
    ? `NO MODEL IS CHECKED HERE: ${missing.join(' and ')} cannot be run (apt install spin gcc)`
    : 'models',
  () => {
    test.each(short.map((one) => ({ name: nameOf(one), one })))(
      '$name',
      { timeout: 300_000 },
      async ({ one }) => {
        const searched = await search(one);
        expect(isAsExpected(one, searched), JSON.stringify(searched)).toBe(true);
      },
    );
  },
);
