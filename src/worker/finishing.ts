/** Finishes a batch so that one item that Postgres refuses does not hold up the others. */

import { LeaseEndedError, LockkeeperError } from '../errors.ts';
import type { Logger } from '../jobs.ts';
import type { Answer, Lease } from '../leases.ts';
import type { Ending } from '../steps.ts';
import { errorOf } from './handler.ts';

/** Errors of the data itself: Postgres's classes 22 (data) and 54 (limits such as nesting), and those of our functions. */
export function isOfTheData(error: unknown): boolean {
  if (error instanceof LeaseEndedError) return false;
  if (error instanceof LockkeeperError) return error.code === 'LK002';
  // More text than one string can have.
  if (error instanceof RangeError) return true;
  const { code } = error as { code?: unknown };
  return typeof code === 'string' && /^(22|54)...$/.test(code);
}

/** The answers in order. A batch that fails is tried one by one; the item that fails alone ends its step as failed. */
export async function finishAll(lease: Lease, endings: readonly Ending[], log: Logger): Promise<Answer[]> {
  try {
    return await lease.finish(endings);
  } catch (error) {
    if (!isOfTheData(error)) throw error;
    if (endings.length > 1) {
      const answers: Answer[] = [];
      for (const ending of endings) answers.push(...(await finishAll(lease, [ending], log)));
      return answers;
    }
    const [{ runId, place, attempt } = { runId: '', place: 0, attempt: 0 }] = endings;
    log.error(
      { err: error, run: runId, place, attempt },
      'the outcome of a step could not be stored: it has failed',
    );
    return await lease.finish([{ runId, place, attempt, outcome: 'failed', error: errorOf(error) }]);
  }
}
