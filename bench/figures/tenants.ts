/** Many tenants with a small limit each, and room for all of them: how long until everybody was served. */

import { itemsFrom, numbered, ours, systemsThatKeep } from '../lib/flow.ts';
import { nowNs } from '../lib/marks.ts';
import { inPlace, type Place, repeat, type Sample } from '../lib/measure.ts';
import { boundsOf, handledOf, overshootOf } from '../lib/observer.ts';
import { withPods } from '../lib/processes.ts';
import { ratesOfRush } from '../lib/rates.ts';
import { median } from '../lib/stats.ts';
import type { Bench, Context, Figure, Item, Limit, Result, Verdict, Work } from '../types.ts';

const tenantCount = 100;
const capacity = 2;
const count = 1_000;
const handlerMs = 20;
const processes = 2;
const room = 100;
const limit: Limit = { kind: 'tenants', capacity };
const work: Work = { limit, handlerMs };

/** Each tenant has 10 pieces, of which 2 run at once for 20 ms: 0.1 s, and so many slots has everybody together. */
const idealMs = (count / (tenantCount * capacity)) * handlerMs;
const times = 2.5;
const rawRuns = 5_000;
const name = `${tenantCount} tenants × ${capacity}, ${count} × ${handlerMs} ms`;

/** Of tenants that are not measured. */
const warmUp = 50;
const before: Item[] = itemsFrom(0, warmUp, 25).map(({ no, tenant }) => ({ no, tenant: `before ${tenant}` }));

/** From the moment at which all is submitted to the last end; the workers are ready long before. */
async function measured({ system, url, folder }: Place, times: number): Promise<Sample[]> {
  await system.prepare(url, work);
  return withPods({ system: system.name, url, work, processes, room, folder }, async (pods) => {
    const { submit, close } = await system.open(url, work);
    try {
      await submit(before);
      await pods.ended(warmUp);
      const submittedAt: number[] = [];
      for (let time = 0; time < times; time += 1) {
        await submit(itemsFrom(warmUp + time * count, count, tenantCount));
        submittedAt.push(nowNs());
        await pods.ended(warmUp + (time + 1) * count);
      }
      const all = handledOf(await pods.stop(), [...before, ...itemsFrom(warmUp, times * count)]);
      return submittedAt.map((from, time) => {
        const handled = numbered(all, warmUp + time * count, count);
        return { value: (boundsOf(handled).last - from) / 1e6, overshoot: overshootOf(handled, capacity) };
      });
    } finally {
      await close();
    }
  });
}

/** Runs a second of ours with three limits in one process, as `runs` measures them, in this very run of the bench. */
async function rawRate(context: Context): Promise<number> {
  const rush = {
    limit: { kind: 'three' },
    processes: 1,
    count: rawRuns,
    least: rawRuns,
    seconds: 60,
  } as const;
  const system = await ours();
  return median(await inPlace(context, system, (place) => ratesOfRush(place, rush, context.repeats)));
}

function verdictOf(own: Result, rate: number): Verdict {
  const atMost = times * (idealMs + (count / rate) * 1_000);
  const { bench, value, overshoot } = own;
  return {
    bench,
    case: name,
    goal: `≤ ${times} × (${idealMs} ms + ${count} ÷ ${Math.round(rate)}/s) = ${Math.round(atMost)} ms`,
    seen: `${Math.round(value)} ms${overshoot === 0 ? '' : `, overshoot ${overshoot}`}`,
    met: value <= atMost && overshoot === 0,
  };
}

async function measure(context: Context): Promise<Figure> {
  const what = { bench: 'tenants', case: name, unit: 'ms' };
  const lines = await repeat(context, what, await systemsThatKeep(limit), measured);
  const results = lines.map((each) => ({ ...each, ratio: each.value / idealMs }));
  const own = results.find(({ system }) => system === 'lockkeeper');
  if (!own) throw new Error('Ours was not measured.');
  return { results, verdicts: [verdictOf(own, await rawRate(context))] };
}

const run = (context: Context): Promise<Figure> => context.parts([{ name, measure: () => measure(context) }]);

/** The figure `tenants`. */
export const tenants: Bench = {
  name: 'tenants',
  title: 'A hundred tenants with a limit of two each',
  about: `${count} pieces of ${handlerMs} ms, ten for each of ${tenantCount} tenants, at most ${capacity} at once for each; two worker processes with room for
${room} each are ready, and have worked through ${warmUp} pieces of other tenants. All are submitted in one go (ours and pg-boss: in
one transaction). The clock runs from the moment at which that is done to the end of the last handler; a system whose
submission is not one transaction works meanwhile, which is to its advantage. \`ratio\` is to the ideal makespan of
${idealMs} ms. With \`--quick\` each peer is measured once. The goal contains the raw rate of ours, measured here as \`runs\` does it with three limits and one process. The
observer counts overshoot for each tenant from the handlers' marks.`,
  run,
};
