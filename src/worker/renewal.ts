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

export type RenewalData = { connectionString: string; schema: string; leaseMs: number; everyMs: number };
export type ToRenewal = { lease?: string; add?: AttemptRef[]; remove?: string[]; stop?: true };
export type FromRenewal = { ready: true } | { aborts: Abort[] } | { ended: string } | { failed: string };

const { connectionString, schema, leaseMs, everyMs } = workerData as RenewalData;
const port = parentPort;
if (!port) throw new Error('renewal.ts runs in a thread of a worker');

const held = new Map<string, AttemptRef>();
const stopping = new AbortController();
const say = (message: FromRenewal) => port.postMessage(message);
const database = openDatabase({
  connectionString,
  schema,
  max: 1,
  applicationName: 'lockkeeper renewal',
  onError: (error) => say({ failed: error.message }),
});
let renewed: Lease | undefined;
port.on('message', ({ lease, add = [], remove = [], stop }: ToRenewal) => {
  if (lease !== undefined) renewed = new Lease(database.execute, lease);
  for (const ref of add) held.set(keyOf(ref), ref);
  for (const key of remove) held.delete(key);
  if (stop) stopping.abort();
});

async function renew(lease: Lease): Promise<void> {
  try {
    const aborts = await lease.renew([...held.values()], leaseMs);
    if (aborts.length > 0) say({ aborts });
  } catch (error) {
    if (!(error instanceof LeaseEndedError)) {
      say({ failed: (error as Error).message });
      return;
    }
    if (renewed === lease) renewed = undefined;
    say({ ended: lease.id });
  }
}

// Connected before there is a lease: a short one would end while the thread starts.
await database.execute('select 1', []).catch((error: Error) => say({ failed: error.message }));
say({ ready: true });
while (!stopping.signal.aborted) {
  await delay(everyMs, stopping.signal);
  if (!stopping.signal.aborted && renewed) await renew(renewed);
}
await database.close();
port.close();
