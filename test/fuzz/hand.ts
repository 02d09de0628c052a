/** A worker's lease, played by hand. */
import type { AttemptRef, Lease } from '../../src/leases.ts';

/** `granted`: by the last claim that granted anything. */
export type Hand = {
  lease: Lease;
  room: number;
  crashed: boolean;
  granted: { number: bigint; steps: AttemptRef[] };
};

/** Claims until there is nothing more; answers how many steps. */
export async function claimAll(worker: Hand): Promise<number> {
  for (let claimed = 0; ; ) {
    const { steps, more } = await worker.lease.claim(worker.room);
    if (steps.length > 0) worker.granted = { number: worker.lease.claims, steps };
    claimed += steps.length;
    if (!more) return claimed;
  }
}
