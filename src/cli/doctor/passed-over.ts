/** Who asks for much at once, and sees others start while it waits. */

import { shownDuration } from '../text.ts';
import { type Finding, ok, type Patient, readWithin, warn } from './finding.ts';

const most = 20;
const longest = '10s';

type Row = { run_id: string; step: string | null; key: string; since: Date; passed_by: string; now: Date };

/** Nothing is at fault, but by itself it may wait for ever. */
export async function checkPassedOver({ database }: Patient): Promise<Finding> {
  const text = `select run_id, step, key, since, passed_by, "${database.schema}".now() as now from "${database.schema}".passed_over order by since limit ${most + 1}`;
  const rows = await readWithin(database, longest, text);
  if (!rows)
    return warn(
      'passed-over',
      `not looked through within ${longest}`,
      'Very much waits. `lockkeeper why RUN` says it of one run.',
    );
  if (rows.length === 0) return ok('passed-over', 'nothing that asks for much at once is passed over');
  const shown = (rows as Row[]).slice(0, most).map(({ run_id, step, key, since, passed_by, now }) => {
    const subject = step === null ? `run ${run_id}` : `step ${step} of run ${run_id}`;
    return `${subject} at ${key} (for ${shownDuration(now.getTime() - since.getTime())}, by ${passed_by})`;
  });
  return warn(
    'passed-over',
    `asked for several slots or keys at once, and passed over by later ones that hold slots there: ${shown.join(', ')}${rows.length > most ? ', and more' : ''}`,
    'A higher priority does not help. Pause the others (`lockkeeper pause --job …`) until it has started, or give them a limit that leaves it room; `lockkeeper why RUN` shows them.',
  );
}
