/** Whole pieces of work in a second: submitted, started, ended. */

import { systemsThatKeep } from '../lib/flow.ts';
import { repeat } from '../lib/measure.ts';
import { type Rush, ratesOfRush } from '../lib/rates.ts';
import type { Bench, Context, Figure, Limit, Result, Verdict } from '../types.ts';

type Case = { name: string; limit: Limit; processes: number };

const none: Case = { name: 'no limit, 1 process', limit: { kind: 'none' }, processes: 1 };
const three: Case = { name: 'three limits, 1 process', limit: { kind: 'three' }, processes: 1 };
const noneOfFour: Case = { ...none, name: 'no limit, 4 processes', processes: 4 };
const threeOfFour: Case = { ...three, name: 'three limits, 4 processes', processes: 4 };
const cases = [none, three, noneOfFour, threeOfFour];

/** A system that would need longer gets less to do. */
const slowSeconds = 6;
const atLeast = 6_000;
const timesDbos = 4;

const rushOf = (context: Context, { limit, processes }: Case): Rush => ({
  limit,
  processes,
  count: context.quick ? 5_000 : 20_000,
  least: context.quick ? 300 : 1_000,
  seconds: context.quick ? 1 : slowSeconds,
});

async function measure(context: Context, one: Case): Promise<Result[]> {
  const what = { bench: 'runs', case: one.name, unit: 'runs/s' };
  return repeat(context, what, await systemsThatKeep(one.limit), async (place, times) =>
    (await ratesOfRush(place, rushOf(context, one), times)).map((value) => ({ value, overshoot: null })),
  );
}

/** The best of a family of systems in a case. */
function bestOf(results: readonly Result[], { name }: Case, family: string): number {
  const rates = results.filter((each) => each.case === name && each.system.split(',')[0] === family);
  if (rates.length === 0) throw new Error(`Nothing was measured of ${family}: ${name}.`);
  return Math.max(...rates.map(({ value }) => value));
}

function verdictsOf(results: readonly Result[]): Verdict[] {
  const own = (one: Case) => bestOf(results, one, 'lockkeeper');
  const verdict = (of: Case, goal: string, goalRate: number): Verdict => ({
    bench: 'runs',
    case: of.name,
    goal: `≥ ${goal}`,
    seen: `${Math.round(own(of))}/s, to be ${Math.round(goalRate)}/s`,
    met: own(of) >= goalRate,
  });
  return [
    verdict(three, `${atLeast.toLocaleString('en')}/s`, atLeast),
    verdict(three, `${timesDbos} × DBOS without a limit`, timesDbos * bestOf(results, none, 'DBOS')),
    verdict(none, 'with three limits', own(three)),
    verdict(noneOfFour, 'one process', own(none)),
    verdict(threeOfFour, 'one process', own(three)),
  ];
}

async function run(context: Context): Promise<Figure> {
  const { results, verdicts } = await context.parts(
    cases.map((one) => ({
      name: one.name,
      measure: async () => ({ results: await measure(context, one), verdicts: [] }),
    })),
  );
  return { results, verdicts: [...verdictsOf(results), ...verdicts] };
}

/** The figure `runs`. */
export const runs: Bench = {
  name: 'runs',
  title: 'Runs of one step in a second',
  about: `The same processes submit and work: one, or four with a quarter each; the handler does nothing. After a warm-up of 1,000
pieces and a pause, up to 20,000 are submitted while they are worked on (\`--quick\`: 5,000; a slow system gets as many as
it does in ${slowSeconds} s, \`--quick\` 1 s; \`--quick\`: peers once). The clock runs from the first submission to the end of the last handler. Ours runs on
until every run has succeeded in the database and no ticket is left: all that were made in pg-boss are closed. *Three
limits*: on the deployment, on each of 100 values of a tag, and on a pool; none is ever full, and no peer has the like,
so the peers stand beside the case without a limit. Room of a process: 500 for ours, pg-boss and DBOS, 50 for
graphile-worker. It throws when a piece is lost or handled twice, or a ticket is left.`,
  run,
};
