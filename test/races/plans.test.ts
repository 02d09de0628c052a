/**
 * Nothing depends on a plan or on where rows lie: with hash or merge joins over sequential scans, and all rows in another
 * order, one call leaves behind what it always does, and pairs keep their promises.
 */

import { describe, expect, test } from 'vitest';
import { openArena } from './arena.ts';
import { calls } from './calls.ts';
import { tellPairs } from './pairs.ts';

const usual = await openArena();

describe.each(['enable_hashjoin', 'enable_mergejoin'] as const)('%s alone', async (join) => {
  const arena = await openArena({ join });

  test('the plans are so', async () => {
    const { rows } = await arena.database.execute(
      "select count(*) as n from pg_proc where proconfig @> $1 and proname in ('claim', 'admit', 'finish')",
      [`{enable_nestloop=off,enable_indexscan=off,${join}=on}`],
    );
    expect(rows).toEqual([{ n: '3' }]);
  });

  test.each(calls)('$name leaves behind what it always does', { timeout: 120_000 }, async (call) => {
    expect(await arena.inOrder(call)).toEqual(await usual.inOrder(call));
  });

  const some = join === 'enable_hashjoin' ? /^(admit|finish of ext)/ : /^(claim of a|cancel of what waits)/;
  tellPairs(
    arena,
    calls.filter(({ name }) => some.test(name)),
    { unstopped: [], every: 40 },
  );
});
