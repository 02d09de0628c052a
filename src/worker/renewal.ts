/**
 * Renewal of a lease, in a thread and on a connection of its own: a handler that blocks the event loop does not lose
 * its worker's lease. On failure it tries again at the next interval; when the lease has ended it says so and is done.
 */

import { parentPort, workerData } from 'node:worker_threads';
import { openDatabase } from '../database.ts';
import { LeaseEndedError } from '../errors.ts';
import { type Abort, type AttemptRef, Lease } from '../leases.ts';
import { delay } from '../wake.ts';
import { keyOf } from './held.ts';

export type RenewalData = { connectionString: string; lease: string; leaseMs: number; everyMs: number };
export type ToRenewal = { add?: AttemptRef[]; remove?: string[]; stop?: true };
export type FromRenewal = { aborts: Abort[] } | { ended: true } | { failed: string };

const { connectionString, lease, leaseMs, everyMs } = workerData as RenewalData;
const port = parentPort;
if (!port) throw new Error('renewal.ts runs in a thread of a worker');

const held = new Map<string, AttemptRef>();
const stopping = new AbortController();
port.on('message', ({ add = [], remove = [], stop }: ToRenewal) => {
  for (const ref of add) held.set(keyOf(ref), ref);
  for (const key of remove) held.delete(key);
  if (stop) stopping.abort();
});

const say = (message: FromRenewal) => port.postMessage(message);
const database = openDatabase({
  connectionString,
  max: 1,
  applicationName: 'lockkeeper renewal',
  onError: (error) => say({ failed: error.message }),
});
const renewed = new Lease(database.execute, lease);

async function renew(): Promise<boolean> {
  try {
    const aborts = await renewed.renew([...held.values()], leaseMs);
    if (aborts.length > 0) say({ aborts });
    return true;
  } catch (error) {
    if (error instanceof LeaseEndedError) {
      say({ ended: true });
      return false;
    }
    say({ failed: (error as Error).message });
    return true;
  }
}

let live = true;
while (live && !stopping.signal.aborted) {
  await delay(everyMs, stopping.signal);
  if (!stopping.signal.aborted) live = await renew();
}
await database.close();
port.close();
