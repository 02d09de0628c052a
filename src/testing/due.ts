/** What waits for a time, and when the next of it comes. */

import type { Executor } from '../database.ts';

const text = `select
  least((select min(until) from lockkeeper.waiting where until > $1),
        (select min(override_until) from lockkeeper.limits where override_until > $1)) as begins_at,
  least((select min(times_out_at) from lockkeeper.steps where times_out_at >= $1),
        (select min(r.until) from (
           select case when state = 'queued' then coalesce(start_at, submitted_at) + queue_timeout_ms * interval '1 millisecond' end as until
           from lockkeeper.runs where ended_at is null
           union all
           select admitted_at + timeout_ms * interval '1 millisecond' from lockkeeper.runs where ended_at is null) r
         where r.until >= $1)) as over_at`;

const never = Number.POSITIVE_INFINITY;

/**
 * The next moment after this one for which something waits, in milliseconds: a backoff, a delay or an override that
 * ends, a timeout. What may last until a time is over a millisecond after it.
 */
export async function nextDue(execute: Executor, now: Date): Promise<number | undefined> {
  const { rows } = await execute(text, [now]);
  const [{ begins_at, over_at }] = rows as [{ begins_at: Date | null; over_at: Date | null }];
  const due = Math.min(begins_at?.getTime() ?? never, (over_at?.getTime() ?? never) + 1);
  return due === never ? undefined : due;
}
