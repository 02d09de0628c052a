/** A stage on which much goes on at once, to be damaged and mended: what is live, asleep, delayed and in its backoff. */

import type { AnyJob } from '../../src/jobs.ts';
import type { AttemptRef, Lease } from '../../src/leases.ts';
import { claimAll, type Stage } from './stage.ts';

export type Busy = {
  stage: Stage;
  load: AnyJob;
  ask: AnyJob;
  lease: Lease;
  /** The runs of the stage, in the order of their submission. */
  runIds: string[];
};

const limits = {
  concurrency: {
    runs: { max_concurrent_runs: 6 },
    pools: { limits: { api: 1, warehouse: 2 } },
    executor: { max_concurrent: 3 },
  },
};

/** Time stands still on this stage from now on. */
export async function jobsOn(stage: Stage): Promise<[load: AnyJob, ask: AnyJob]> {
  await stage.rows('select lockkeeper.stop_clock()');
  const load = await stage.register('load', {
    extract: { pool: 'api', max_attempts: 2, backoff_ms: 1_000 },
    check: { max_attempts: 2, backoff_ms: 1_000 },
    copy: { after: ['extract', 'check'], pool: { warehouse: 2 } },
  });
  return [load, await stage.register('ask', { ask: { pool: 'api' } })];
}

/**
 * Four runs of `load` are live, of which one waits for a backoff and one has a deadline. Runs of `ask` look for room at
 * `pool.api`, others wait for room in `runs`, and one for its time.
 */
export async function busyStage(stage: Stage, [load, ask]: [AnyJob, AnyJob]): Promise<Busy> {
  await stage.apply(limits);
  const [{ last } = {}] = await stage.rows('select max(run_id) as last from lockkeeper.runs');
  const lease = await stage.serve(load, ask);
  await stage.rows(
    `select lockkeeper.submit('{"job": "load", "timeout_ms": 86400000, "max_concurrent": 2}')`,
  );
  await stage.submit(load, load, load, ask, ask);
  await stage.tick();
  const claimed = await claimAll(lease);
  const checks = claimed.filter(({ step }) => step === 'check');
  const [first, second] = checks.map(({ runId, place, attempt }) => ({ runId, place, attempt }));
  if (first === undefined || second === undefined) throw new Error('no step runs');
  await lease.finish([
    { ...first, outcome: 'succeeded' },
    { ...second, outcome: 'failed', error: { name: 'Error', message: 'failed' } },
  ]);
  await stage.submit(load, load, load, load);
  await stage.rows(
    `select lockkeeper.submit(jsonb_build_object('job', 'ask', 'start_at', lockkeeper.now() + interval '1 hour'))`,
  );
  await stage.tick();
  const rows = await stage.rows('select run_id from lockkeeper.runs where run_id > $1 order by 1', [
    last ?? 0,
  ]);
  return { stage, load, ask, lease, runIds: rows.map(({ run_id }) => String(run_id)) };
}

/** Everything that is stored of runs, steps and what hangs off them, ids of lanes apart. */
export async function stored(stage: Stage): Promise<Record<string, unknown>> {
  const read = async (text: string) => (await stage.rows(text)).map((row) => Object.values(row).join(' '));
  const data = (table: string, fields: string) =>
    read(`select ${fields} from lockkeeper_data.${table} order by ${fields}`);
  return {
    runs: await data('runs', 'id, state, steps_left, failed, canceling'),
    steps: await data('steps', 'run_id, place, state, attempts, losses, returns, needs'),
    attempts: await data('attempts', 'run_id, place, attempt, lease_id'),
    waiting: await data('waiting', 'run_id, place, attempts'),
    backoffs: await data('backoffs', 'run_id, place, ready_at'),
    deadlines: await data('deadlines', 'run_id, deadline, at'),
    slots: await read('select run_id, place, key, amount from lockkeeper.slots order by 1, 2, 3'),
    keys: await read('select key, in_use, asked, capacity from lockkeeper.keys order by 1'),
    served: await read('select job from lockkeeper.lanes where keys @> $${workers}$$ order by 1'),
  };
}

/** Works until nothing is left, through backoffs and delays; answers how many of the runs came to which end. */
export async function drain({ stage, load, ask, lease, runIds }: Busy): Promise<Record<string, number>> {
  await workAll(stage, lease);
  await stage.rows('select lockkeeper.advance_clock(7200)');
  await workAll(stage, await stage.serve(load, ask));
  const rows = await stage.rows(
    'select state, count(*)::int as runs from lockkeeper.runs where run_id = any ($1) group by 1',
    [runIds],
  );
  return Object.fromEntries(rows.map(({ state, runs }) => [state, Number(runs)]));
}

/** Ends steps, well. */
export async function finishAll(lease: Lease, steps: readonly AttemptRef[]): Promise<void> {
  await lease.finish(
    steps.map(({ runId, place, attempt }) => ({ runId, place, attempt, outcome: 'succeeded' })),
  );
}

async function workAll(stage: Stage, lease: Lease): Promise<void> {
  const held = await stage.rows(
    'select run_id, place, attempt from lockkeeper_data.attempts where lease_id = $1',
    [lease.id],
  );
  let steps: readonly AttemptRef[] = held.map(({ run_id, place, attempt }) => ({
    runId: String(run_id),
    place: Number(place),
    attempt: Number(attempt),
  }));
  do {
    await finishAll(lease, steps);
    await stage.tick();
    steps = await claimAll(lease);
  } while (steps.length > 0);
}
