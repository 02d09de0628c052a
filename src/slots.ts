/** Slots: who holds what, and why somebody waits. */

import type { Executor } from './database.ts';

/** Somebody who holds slots of a key: a run (no step), or a step while it runs. */
export type Holder = {
  run_id: string;
  job: string;
  step?: string;
  amount: number;
  /** Since when, as an ISO time. */
  since: string;
  worker?: string;
};

/** One reason why a run (no step) or a step is not starting. */
export type Reason = {
  step: string | null;
  state: 'queued' | 'ready';
  /** The full key, `workers`, or null when it waits for time or for nothing. */
  key: string | null;
  inUse: number | null;
  capacity: number | null;
  /** How many slots it asks for. */
  amount: number | null;
  /** At most 20, the longest first. */
  holders: Holder[];
  /** What would free it. */
  sentence: string;
};

const numberOf = (value: unknown) => (value === null ? null : Number(value));

/** Why a run, or one step of it, is not starting: every full key. Empty: nothing of it waits. */
export async function why(execute: Executor, runId: string, step?: string): Promise<Reason[]> {
  const { rows } = await execute('select * from lockkeeper.why($1, $2)', [runId, step ?? null]);
  return rows.map((row) => ({
    step: row.step_name as string | null,
    state: row.state as Reason['state'],
    key: row.key as string | null,
    inUse: numberOf(row.in_use),
    capacity: numberOf(row.capacity),
    amount: numberOf(row.amount),
    holders: row.holders as Holder[],
    sentence: String(row.sentence),
  }));
}
