/** A run looks ahead at a pool, and in this moment another step asks for the pool. */

import { expect, test } from 'vitest';
import type { Claimed } from '../../src/steps.ts';
import { claimAll, openStage } from '../support/stage.ts';

const stage = await openStage();
const copy = await stage.register('copy', { extract: {}, copy: { after: ['extract'], pool: 'warehouse' } });
const scan = await stage.register('scan', { scan: { pool: 'warehouse' } });

test('it sees what was asked while it waited for the key, and stays queued', async () => {
  await stage.apply({ concurrency: { pools: { limits: { warehouse: { limit: 1 } } } } });
  const lease = await stage.serve(copy, scan);
  await stage.submit(copy);
  await stage.tick();
  const [extract] = await claimAll(lease);
  const [looker = ''] = await stage.submit(scan);
  await stage.rows('select * from lockkeeper.lane()');
  const { second, waited } = await stage.race(
    (execute) =>
      stage.through(lease, execute).finish([{ ...(extract as Claimed), outcome: 'succeeded', output: null }]),
    (execute) => execute('select run_ids from lockkeeper.admit()', []),
  );
  expect(waited).toBe(true);
  expect(second.rows).toEqual([{ run_ids: [] }]);
  expect(await stage.stateOf(looker)).toBe('queued');
});
