/**
 * pg-boss's maintenance, cron, flows and index builds, driven by our tick instead of by timers. The caller holds a
 * try-lock around `tick`, so that one pod at a time does it; pg-boss's own claims in the database keep it right even
 * if two do.
 *
 * On failure: a pass that fails is reported to the settings' `onError` and made again when pg-boss's interval is
 * over; a tick that cannot open pg-boss throws, and the next one tries again. Nothing is lost with a pod that dies:
 * all that pg-boss knows is in its tables.
 */

import type { PgBoss } from 'pg-boss';
import { asWritten, type Database, type Executor, pgBossDb } from '../database.ts';
import { makeBoss, type QueueSettings, readVersion, refuseOther } from './boss.ts';
import { activity, type StillClock, stillClock } from './still-clock.ts';

export type Keeper = {
  /**
   * Does what is due at this time (the server's own clock, in milliseconds of the epoch) and returns when it is done,
   * save index builds: they may take minutes, and go on beside the next ticks. Where nothing is due it executes
   * nothing. Call it at least every 15 seconds, since cron looks back one minute. The first call opens pg-boss.
   */
  tick(now: number): Promise<void>;
  /** Waits for the pass that runs; index builds of an upgrade are canceled after 30 seconds, and begun again later. */
  close(): Promise<void>;
};

const isIndexBuild = (text: string) => /\bindex\s+concurrently\b/i.test(text);

export function createKeeper(database: Pick<Database, 'execute'>, settings: QueueSettings = {}): Keeper {
  const { track, settled } = activity();
  const send = asWritten(database.execute);
  const execute: Executor = (text, values) => {
    const work = send(text, values);
    return isIndexBuild(text) ? work : track(work);
  };
  let open: { boss: PgBoss; clock: StillClock } | undefined;
  return {
    async tick(now) {
      open ??= await openKeeper(execute, settings, now);
      open.clock.advance(now);
      await settled();
    },
    async close() {
      await open?.boss.stop({ close: false });
      open = undefined;
    },
  };
}

/** `migrate` makes pg-boss build the indexes that an upgrade left; it changes nothing else at our version. */
async function openKeeper(execute: Executor, settings: QueueSettings, now: number) {
  const schema = settings.schema ?? 'pgboss';
  const clock = stillClock(now);
  const options = { db: pgBossDb(execute), clock, supervise: true, schedule: true, migrate: true };
  const boss = makeBoss(schema, settings, options);
  refuseOther(await readVersion(boss), schema);
  await boss.start();
  return { boss, clock };
}
