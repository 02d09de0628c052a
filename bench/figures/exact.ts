/** Whether a limit is ever exceeded: one key, four processes that all want it. */

import { type Flow, flowThrough, systemsThatKeep } from '../lib/flow.ts';
import { type Place, repeat } from '../lib/measure.ts';
import { overshootOf } from '../lib/observer.ts';
import type { Bench, Context, Figure, Result, Verdict } from '../types.ts';

const capacities = [1, 2, 10];
const handlerMs = 10;

/** So many items that a limit used in full would take this many seconds. */
function flowOf({ quick }: Context, capacity: number): Flow {
  const seconds = quick ? 1 : 2;
  return {
    work: { limit: { kind: 'key', capacity }, handlerMs },
    processes: 4,
    room: 10,
    count: ((seconds * 1_000) / handlerMs) * capacity,
    seconds,
    least: 4 * capacity,
    warmUp: 2 * capacity,
    tellingSeconds: 0.2,
  };
}

async function measure(context: Context, capacity: number): Promise<Figure> {
  const flow = flowOf(context, capacity);
  const systems = await systemsThatKeep(flow.work.limit);
  const what = { bench: 'exact', case: `limit ${capacity}`, unit: 'at once' };
  const measured = async (place: Place, times: number) =>
    (await flowThrough(place, flow, times)).map((handled) => {
      const overshoot = overshootOf(handled, capacity);
      return { value: capacity + overshoot, overshoot };
    });
  const results = await repeat(context, what, systems, measured);
  return { results, verdicts: results.filter(({ system }) => system === 'lockkeeper').map(verdictOf) };
}

function verdictOf({ case: name, overshoot, bench }: Result): Verdict {
  return {
    bench,
    case: name,
    goal: 'overshoot 0, always',
    seen: `overshoot ${overshoot}`,
    met: overshoot === 0,
  };
}

const run = (context: Context): Promise<Figure> =>
  context.parts(
    capacities.map((capacity) => ({ name: `limit ${capacity}`, measure: () => measure(context, capacity) })),
  );

/** The figure `exact`. */
export const exact: Bench = {
  name: 'exact',
  title: 'The most handlers at once under one limit',
  about: `Four worker processes with room for ten each, all ready, want the one key; the pieces of ${handlerMs} ms are submitted at once,
as many as would take two seconds if the limit were used in full (\`--quick\`: one; a slower system gets fewer, so that it
takes about as long). Each process marks the start and the end of each handler by the machine's monotonic clock; the observer counts
from these marks alone how many were at work at once, ends before starts at the same nanosecond. *At once* is the
capacity and what was seen over it (median of the repeats), *overshoot* the worst of all repeats (\`--quick\`: peers once). It throws when a piece
is lost, handled twice or never ended.`,
  run,
};
