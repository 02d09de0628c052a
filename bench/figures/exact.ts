/** Whether a limit is ever exceeded: one key, four processes that all want it. */

import { type Flow, flowThrough, systemsThatKeep } from '../lib/flow.ts';
import { type Place, repeat } from '../lib/measure.ts';
import { overshootOf } from '../lib/observer.ts';
import type { Bench, Context, Figure, Result, System, Verdict } from '../types.ts';

const capacities = [1, 2, 10];
const handlerMs = 10;

/** So many items that a limit used in full would take two seconds. */
const flowOf = (capacity: number): Flow => ({
  work: { limit: { kind: 'key', capacity }, handlerMs },
  processes: 4,
  room: 10,
  count: (2_000 / handlerMs) * capacity,
  seconds: 2,
  least: 4 * capacity,
  warmUp: 2 * capacity,
});

async function measure(context: Context, capacity: number): Promise<Result[]> {
  const flow = flowOf(capacity);
  const systems = await systemsThatKeep(flow.work.limit);
  const what = { bench: 'exact', case: `limit ${capacity}`, unit: 'at once' };
  const once = async (place: Place) => {
    const overshoot = overshootOf(await flowThrough(place, flow), capacity);
    return { value: capacity + overshoot, overshoot };
  };
  const isOurs = ({ name }: System) => name === 'lockkeeper';
  // A peer that goes over does so at once; ours must not in any repeat.
  const peers = { ...context, repeats: context.quick ? 1 : context.repeats };
  return [
    ...(await repeat(context, what, systems.filter(isOurs), once)),
    ...(await repeat(
      peers,
      what,
      systems.filter((each) => !isOurs(each)),
      once,
    )),
  ];
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

async function run(context: Context): Promise<Figure> {
  const results: Result[] = [];
  for (const capacity of capacities) results.push(...(await measure(context, capacity)));
  return { results, verdicts: results.filter(({ system }) => system === 'lockkeeper').map(verdictOf) };
}

/** The figure `exact`. */
export const exact: Bench = {
  name: 'exact',
  title: 'The most handlers at once under one limit',
  about: `Four worker processes with room for ten each, all ready, want the one key; the pieces of ${handlerMs} ms are submitted at once,
as many as would take two seconds if the limit were used in full (a slower system gets fewer, so that it takes about
two). Each process marks the start and the end of each handler by the machine's monotonic clock; the observer counts
from these marks alone how many were at work at once, ends before starts at the same nanosecond. *At once* is the
capacity and what was seen over it (median of the repeats), *overshoot* the worst of all repeats (\`--quick\`: one of each peer). It throws when a piece
is lost, handled twice or never ended.`,
  run,
};
