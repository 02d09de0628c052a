/** A chooser looks at lanes before it owns them; in between, another may have put one to sleep. */

import { expect, test } from 'vitest';
import { transaction } from '../../src/database.ts';
import { openStage } from '../support/stage.ts';

const stage = await openStage();
const load = await stage.register('load', { copy: { pool: 'warehouse' } });

test('a lane that is granted from is open afterwards, though it slept when it was owned', async () => {
  await stage.apply({
    concurrency: { pools: { limits: { warehouse: 2 }, op_granularity_run_buffer: 10 } },
  });
  await stage.serve(load);
  await stage.submit(load, load);
  await stage.tick();
  const open = transaction(stage.database, async (query) => {
    const { rows } = await query("select id, keys from lockkeeper_data.lanes where counts = 'step'");
    const [{ id: lane } = {}] = rows;
    await query(
      `insert into lockkeeper_data.watches
       select l.id, 0, l.keys[2], 1, l.counts, l.version_id, l.priority, w.run_id, w.attempts, w.place
       from lockkeeper_data.lanes l join lockkeeper_data.waiting w on w.lane_id = l.id where l.id = $1 limit 1`,
      [lane],
    );
    await query('delete from lockkeeper_data.open_lanes where lane_id = $1', [lane]);
    await query(
      "select lockkeeper_data.write_decision(lockkeeper_data.decide('step', array[$1]::bigint[], 1))",
      [lane],
    );
    const { rows: found } = await query('select lane_id from lockkeeper_data.open_lanes where lane_id = $1', [
      lane,
    ]);
    throw Object.assign(new Error('undone'), { found: found.length });
  });
  await expect(open).rejects.toMatchObject({ message: 'undone', found: 1 });
});
