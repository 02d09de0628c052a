/** Coordinator and worker by turns, until nothing changes. */

import { type CoordinatorDatabase, coordinate } from '../coordinator/tick.ts';
import { LockkeeperError } from '../errors.ts';
import type { Queue } from '../queue/boss.ts';
import type { HandWorker } from './hand-worker.ts';

/** Rounds after which the kit says that there is no end. */
export const mostRounds = 10_000;
/** Between two looks of `settleUntil`, in milliseconds of the real clock. */
export const pauseMs = 5;

/** @throws {LockkeeperError} when there is no end, or a handler takes too long. */
export async function settle(
  database: CoordinatorDatabase,
  queue: Queue,
  worker: Pick<HandWorker, 'tick'>,
): Promise<void> {
  for (let round = 0; round < mostRounds; round += 1) {
    const did = await coordinate(database, queue);
    const changed = [did.admitted, did.canceled, did.remade].some((runs) => runs.length > 0);
    const worked = await worker.tick();
    if (!changed && !worked && did.ended + did.readied + did.submitted + did.rejected === 0) return;
  }
  throw new LockkeeperError(`After ${mostRounds} rounds there is still something to do.`, {
    hint: 'Does a step that fails at once have a great maxAttempts and no backoff? Replace its handler.',
  });
}
