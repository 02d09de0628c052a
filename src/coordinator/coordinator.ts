/** The coordinator as a loop. Any number may run: they share the work by locks in the database, none of them leads. */

import { type Database, transaction } from '../database.ts';
import type { Logger } from '../jobs.ts';
import type { Queue, QueueSettings } from '../queue/boss.ts';
import { createKeeper, type Keeper } from '../queue/keeper.ts';
import { type Loop, loop, wallClockMs } from '../wake.ts';
import { coordinate, keepTickets, pass, type Ticked } from './tick.ts';

export type CoordinatorOptions = {
  database: Database;
  queue: Queue;
  settings: QueueSettings;
  log: Logger;
  /** Called after a pass that changed something that others may wait for. */
  onProgress: () => void;
};

/** Advisory lock of the pod that does pg-boss's maintenance and cron. */
const keeperLock = '5505019530000004099';
const keeperEveryMs = 10_000;
/** The pass wakes this loop; by itself it hardly ever ticks. */
const ticketsEveryMs = 600_000;

export class Coordinator {
  readonly #options: CoordinatorOptions;
  readonly #keeper: Keeper;
  #loops: Loop[] = [];

  constructor(options: CoordinatorOptions) {
    this.#options = options;
    this.#keeper = createKeeper(options.database, options.settings);
  }

  /** One whole pass, by hand. */
  async tick(): Promise<Ticked> {
    const { database, queue } = this.#options;
    return this.#tell(await coordinate(database, queue));
  }

  #tell(ticked: Ticked): Ticked {
    const { log, onProgress } = this.#options;
    if (ticked.remade.length > 0) {
      log.warn(
        { runs: ticked.remade },
        'tickets of queued runs were fetched or ended by somebody; they are made again',
      );
    }
    if (ticked.rejected > 0)
      log.warn({ rejected: ticked.rejected }, 'submissions were rejected, see lockkeeper.rejected');
    if (ticked.admitted.length + ticked.ended + ticked.readied > 0) onProgress();
    return ticked;
  }

  /** pg-boss's maintenance and cron, if no other pod is at it, and the keys of nobody. */
  async keep(): Promise<void> {
    const { database } = this.#options;
    await transaction(database, async (query) => {
      const { rows } = await query('select pg_try_advisory_xact_lock($1) as mine', [keeperLock]);
      if (rows[0]?.mine === true) await this.#keeper.tick(wallClockMs());
    });
    await database.execute('select lockkeeper.collect_keys()', []);
  }

  start(): void {
    const onError = (error: Error) =>
      this.#options.log.error({ err: error }, 'the coordinator failed and tries again');
    const { database, queue } = this.#options;
    const tickets = loop({
      tick: () => keepTickets(database, queue).then(() => false),
      onError,
      everyMs: ticketsEveryMs,
    });
    const tick = async () => {
      const passed = await pass(database, queue);
      this.#tell(passed);
      if (passed.tickets) tickets.wake();
      return passed.admitted.length + passed.ended + passed.readied + passed.submitted > 0;
    };
    this.#loops = [
      loop({ tick, onError }),
      tickets,
      loop({ tick: () => this.keep().then(() => false), onError, everyMs: keeperEveryMs }),
    ];
  }

  wake(): void {
    this.#loops[0]?.wake();
  }

  /** Finishes the pass that runs. What is not done another coordinator does, or the next start. */
  async stop(): Promise<void> {
    await Promise.all(this.#loops.map((each) => each.stop()));
    await this.#keeper.close();
  }
}
