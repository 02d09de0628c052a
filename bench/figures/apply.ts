/** How soon a change of the limits counts, with a long queue behind them. */

import { setTimeout as delay } from 'node:timers/promises';
import { createLockkeeper, job, type Lockkeeper } from '../../src/index.ts';
import { asleep, laned } from '../lib/asleep.ts';
import { checkWaiting, Slot, Starts } from '../lib/backlog.ts';
import { listed } from '../lib/lines.ts';
import { nowNs } from '../lib/marks.ts';
import { type Ours, quiet, submitAll, withOurs } from '../lib/sql.ts';
import { spread } from '../lib/stats.ts';
import type { Bench, Context, Figure, Result, Verdict } from '../types.ts';

const bench = 'apply';
const room = 10;
const settings = 10;
const mostMs = 100;
/** What can start, starts within a second, whatever else goes on. */
const mostGapMs = 1_000;
const freeEveryMs = 100;
const gate = 'runs.tag.gate';

const gateShut = { tag_concurrency_limits: [{ key: 'gate', limit: 0 }] };
const config = { concurrency: { runs: gateShut } };
/** One more limit, which matches every run and is never full. */
const touchingAll = { concurrency: { runs: { ...gateShut, max_concurrent_runs: 10_000_000 } } };

const waitingOf = ({ quick }: Context) => (quick ? 100_000 : 1_000_000);

type Free = { sent: number[]; started: number[] };

/** From `limits set` in another process's place to the first start, each time set back. */
async function setLimit(
  lockkeeper: Lockkeeper,
  other: Lockkeeper,
  starts: Starts,
  slot: Slot,
): Promise<number[]> {
  const values: number[] = [];
  for (let i = 0; i < settings; i += 1) {
    const set = () => other.limits.override(gate, 1, { by: 'bench', why: 'one may pass' });
    values.push(await starts.msUntil('blocked', set));
    await other.limits.unset(gate);
    slot.release();
    await asleep(lockkeeper);
  }
  return values;
}

/** Submits a free run ten times a second, ahead of all others, until it is told to stop. */
async function offerFree(lockkeeper: Lockkeeper, free: Free, stop: AbortSignal): Promise<void> {
  while (!stop.aborted) {
    const no = free.sent.length;
    free.sent.push(nowNs());
    await lockkeeper.submitMany([{ job: 'free', input: no, priority: 10 }]);
    await delay(freeEveryMs);
  }
}

type Touched = { applySeconds: number; lanedSeconds: number; gapMs: number; startMs: number };

/** Adds the limit that touches all; how long until all are laned again, and what free runs saw of it. */
async function touchAll(lockkeeper: Lockkeeper, other: Lockkeeper, free: Free): Promise<Touched> {
  const stop = new AbortController();
  const offering = offerFree(lockkeeper, free, stop.signal);
  const apply = async () => {
    await delay(10 * freeEveryMs);
    const began = nowNs();
    await other.applyConfig(touchingAll);
    const applied = nowNs();
    await laned(lockkeeper);
    return { began, applied, ended: nowNs() };
  };
  const [{ began, applied, ended }] = await Promise.all([apply().finally(() => stop.abort()), offering]);
  await asleep(lockkeeper);
  const during = free.started.filter((at) => at >= began && at <= ended).toSorted((a, b) => a - b);
  const [, gapMs] = spread([began, ...during, ended].map((at, i, all) => (at - (all[i - 1] ?? at)) / 1e6));
  const [, startMs] = spread(latenciesOf(free));
  return { applySeconds: (applied - began) / 1e9, lanedSeconds: (ended - began) / 1e9, gapMs, startMs };
}

/** Milliseconds from submit to start of each. Throws when one was lost. */
function latenciesOf({ sent, started }: Free): number[] {
  return sent.map((at, no) => {
    const start = started[no];
    if (start === undefined) throw new Error(`Free run ${no} never started.`);
    return (start - at) / 1e6;
  });
}

async function measure(context: Context) {
  const starts = new Starts();
  const slot = new Slot(starts);
  const free: Free = { sent: [], started: [] };
  const started = (no: number) => {
    free.started[no] = nowNs();
  };
  const jobs = [job('free', ({ input }) => started(Number(input))), job('blocked', () => slot.hold())];
  return withOurs(context.server, { jobs, config }, async ({ lockkeeper, url }: Ours) => {
    await lockkeeper.work({ room });
    const waiting = waitingOf(context);
    await submitAll(lockkeeper, waiting, () => ({ job: 'blocked', tags: { gate: 'shut' } }));
    await asleep(lockkeeper);
    await checkWaiting(lockkeeper, waiting);
    const other = await createLockkeeper({ connectionString: url, log: quiet });
    try {
      const sets = await setLimit(lockkeeper, other, starts, slot);
      await checkWaiting(lockkeeper, waiting - settings);
      const touched = await touchAll(lockkeeper, other, free);
      await checkWaiting(lockkeeper, waiting - settings);
      return { sets, touched, overshoot: slot.overshoot };
    } finally {
      await other.close();
    }
  });
}

async function figureOf(context: Context): Promise<Figure> {
  const { sets, touched, overshoot } = await measure(context);
  const behind = `${waitingOf(context).toLocaleString('en')} waiting`;
  const set: Result = { ...listed(bench, `${behind}: limits set → first start`, 'ms', sets), overshoot };
  const all = (what: string, unit: string, value: number) =>
    listed(bench, `${behind}, a limit that touches all: ${what}`, unit, [value]);
  const gap = all('longest time without the start of a free run', 'ms', touched.gapMs);
  const results = [
    set,
    all('apply returns', 's', touched.applySeconds),
    all('all are laned again', 's', touched.lanedSeconds),
    gap,
    all('longest submit → start of a free run', 'ms', touched.startMs),
  ];
  for (const { case: name, value, unit } of results) context.say(`${name}: ${value.toFixed(1)} ${unit}`);
  return { results, verdicts: [within(set, mostMs), within(gap, mostGapMs)] };
}

function within({ case: name, value, spread: [, longest], overshoot }: Result, most: number): Verdict {
  const seen = `${value.toFixed(0)} ms (at most ${longest.toFixed(0)})`;
  return { bench, case: name, goal: `≤ ${most} ms`, seen, met: value <= most && !overshoot };
}

const run = (context: Context): Promise<Figure> =>
  context.parts([
    { name: `${waitingOf(context).toLocaleString('en')} waiting`, measure: () => figureOf(context) },
  ]);

/** The figure `apply`. */
export const apply: Bench = {
  name: bench,
  title: 'A change of the limits, with a long queue behind them',
  about: `A million runs (\`--quick\`: 100,000) wait behind a tag limit of 0; coordinator and worker (room ${room}) are in the bench's
process, and all is asleep. *limits set*: a second Lockkeeper overrides the limit with 1; from that call to the first line of the
handler that starts. Then it is set back, ${settings} times in all; the median, the least and the greatest. *A limit that touches all*: the second
one applies a configuration with one more limit, which matches every run, so that all get new keys and a new lane. Meanwhile a
free run of a higher priority is submitted ten times a second. *All are laned again*: from the call of apply until the coordinator
finds nothing to lane; *the longest time without the start of a free run* counts within that. It is done once. It throws when a
handler does not start within a minute, when a free run is lost, when not exactly the blocked are still queued, or when a rule was
broken in the database.`,
  run,
};
