/** The whole audit, in slices: what must never be, and tickets that are not what the queued runs need; and its repair. */

import { auditKeys, auditRuns, type Mended, repair } from '../../coordinator/auditor.ts';
import { openQueue } from '../../queue/boss.ts';
import { type Audited, auditTickets, compareTickets } from '../../queue/tickets.ts';
import { type Finding, fail, ok, type Patient, warn } from './finding.ts';

export type AuditOptions = {
  /** Mend what is found. */
  repairs: boolean;
  /** Told after each slice how far it is. */
  onProgress: (where: string) => void;
};

const sliceSteps = 10_000;
const sliceTickets = 10_000;
/** Of one kind, how many are told. */
const most = 50;

const report =
  'This is a fault of Lockkeeper, or somebody wrote to its tables: keep these lines and report them.';

/** Counters, keys and lanes, then all runs with their steps. */
export async function checkAll({ database }: Patient, options: AuditOptions): Promise<Finding[]> {
  const { execute } = database;
  const found: Mended[] = [];
  const take = async (wrong: readonly Omit<Mended, 'repair'>[], after: string, upto: string | undefined) => {
    if (wrong.length === 0) return;
    if (options.repairs) found.push(...(await repair(execute, after, upto)));
    else found.push(...wrong.map((each) => ({ ...each, repair: null })));
  };
  await take(await auditKeys(execute), '0', '0');
  for (let after: string | undefined = '0'; after !== undefined; ) {
    const { violations, upto } = await auditRuns(execute, after, sliceSteps);
    await take(violations, after, upto);
    options.onProgress(`audit: runs up to ${upto ?? 'the last'}`);
    after = upto;
  }
  if (found.length === 0) return [ok('audit', 'all runs, steps, attempts, slots, counters and lanes agree')];
  return [...Map.groupBy(found, ({ violation }) => violation)].flatMap(([violation, each]) =>
    findingsOf(violation, each, options.repairs),
  );
}

function findingsOf(violation: string, found: readonly Mended[], repairs: boolean): Finding[] {
  const more = found.slice(most);
  const left = more.find(({ repair }) => repair === null) ?? more[0];
  const told = left ? [...found.slice(0, most), { ...left, detail: `${more.length} more` }] : found;
  return told.map(({ detail, repair }) => {
    const message = `${violation}: ${detail}`;
    if (repair !== null) return warn('audit', message, `Mended: ${repair}. ${report}`);
    const next = repairs ? 'It could not be mended.' : '`lockkeeper doctor --audit --repair` mends it.';
    return fail('audit', message, `${report} ${next}`);
  });
}

/** Each queued run has its ticket in pg-boss, and no other has one. */
export async function checkTickets(
  { database, pgBossSchema }: Patient,
  { repairs, onProgress }: AuditOptions,
): Promise<Finding[]> {
  const queue = await openQueue(database, { schema: pgBossSchema });
  const look = repairs ? auditTickets : compareTickets;
  const missing: string[] = [];
  const orphans: string[] = [];
  try {
    for (let after: string | undefined = '0'; after !== undefined; ) {
      const slice: Audited = await look(queue, database, after, sliceTickets);
      missing.push(...slice.missing);
      orphans.push(...slice.orphans);
      onProgress(`audit: tickets up to run ${slice.upto ?? 'the last'}`);
      after = slice.upto;
    }
  } finally {
    await queue.close();
  }
  return ticketFindings(missing, orphans, repairs);
}

function ticketFindings(missing: string[], orphans: string[], repairs: boolean): Finding[] {
  const runs = (ids: string[]) =>
    `${ids.length} (run${ids.length === 1 ? '' : 's'} ${ids.slice(0, 5).join(', ')}${ids.length > 5 ? ' …' : ''})`;
  const kinds: [string[], wrong: string, done: string][] = [
    [
      missing,
      'queued runs have no ticket in pg-boss',
      'They are made again by the next tick of a coordinator.',
    ],
    [orphans, 'tickets in pg-boss are of runs that are not queued', 'They are deleted.'],
  ];
  const found = kinds
    .filter(([ids]) => ids.length > 0)
    .map(([ids, wrong, done]) => {
      const message = `${wrong}: ${runs(ids)}`;
      if (repairs) return warn('tickets', message, `Mended: ${done}`);
      return fail(
        'tickets',
        message,
        'Somebody deleted or made jobs in the queue of tickets. A coordinator mends it in time, `lockkeeper doctor --audit --repair` now.',
      );
    });
  return found.length > 0 ? found : [ok('tickets', 'each queued run has its ticket, and no other has one')];
}
