/** What Lockkeeper itself keeps: sound, and looked after by somebody. */

import { shownDuration } from '../text.ts';
import { type Finding, fail, ok, one, type Patient, readWithin, warn } from './finding.ts';

/** A test database, where time does not go on by itself. */
export async function checkStoppedClock({ database }: Patient): Promise<Finding[]> {
  const { server, ours } = await one<{ server: Date; ours: Date }>(
    database,
    'select clock_timestamp() as server, lockkeeper.now() as ours',
  );
  if (Math.abs(server.getTime() - ours.getTime()) < 1_000) return [];
  return [
    warn(
      'clock',
      'this is a test database: its clock was stopped, and no time passes for Lockkeeper',
      'Use it for tests only. A database whose clock was stopped stays one.',
    ),
  ];
}

const most = 5;
/** Reads all that is live, so it gets only so long. */
const longest = '30s';

export async function checkViolations({ database }: Patient): Promise<Finding> {
  const text = `select violation, detail from "${database.schema}".violations limit ${most + 1}`;
  const rows = await readWithin(database, longest, text);
  if (!rows)
    return warn(
      'violations',
      `not looked through within ${longest}`,
      'Much is live. `lockkeeper doctor --audit` looks through everything, however long it takes.',
    );
  if (rows.length === 0) return ok('violations', 'counters, slots and lanes agree');
  const shown = rows.slice(0, most).map(({ violation, detail }) => `${violation}: ${detail}`);
  return fail(
    'violations',
    `what must never be is: ${shown.join('; ')}${rows.length > most ? '; and more' : ''}`,
    'This is a fault of Lockkeeper, or somebody wrote to its tables. Keep the rows of `select * from lockkeeper.violations` and report them; `lockkeeper doctor --audit --repair` mends it.',
  );
}

const longMs = 10_000;

/** What was submitted is looked at by the next tick of any coordinator. */
export async function checkCoordinator({ database }: Patient): Promise<Finding> {
  const { rows } = await database.execute(
    `select l.waiting::int as many, greatest(r.submitted_at, r.start_at) as since, lockkeeper.now() as now
     from lockkeeper.lanes l join lockkeeper.runs r on r.run_id = l.first_run_id where l.lane_id = 0`,
    [],
  );
  const [first] = rows as { many: number; since: Date; now: Date }[];
  const ms = first ? first.now.getTime() - first.since.getTime() : 0;
  if (!first || ms <= longMs) return ok('coordinator', 'what was submitted is looked at');
  return warn(
    'coordinator',
    `${first.many} submitted ${first.many === 1 ? 'run has' : 'runs have'} not been looked at, the first for ${shownDuration(ms)}: no coordinator runs, or it does not keep up`,
    'Start one with `lockkeeper coordinator`, or a worker, which brings one. If one runs, see its log.',
  );
}

export async function checkWorkers({ database }: Patient): Promise<Finding[]> {
  const { live, running, dead, held, since, now } = await one<{
    live: number;
    running: number;
    dead: number;
    held: number;
    since: Date | null;
    now: Date;
  }>(
    database,
    `select count(*) filter (where live)::int as live, coalesce(sum(running) filter (where live), 0)::int as running,
       count(*) filter (where not live)::int as dead, coalesce(sum(running) filter (where not live), 0)::int as held,
       min(expires_at) filter (where not live) as since, lockkeeper.now() as now
     from lockkeeper.workers`,
  );
  const found: Finding[] = [];
  if (dead > 0)
    found.push(
      warn(
        'leases',
        `${dead} ${dead === 1 ? 'worker has' : 'workers have'} died and not been cleared away, the first ${shownDuration(now.getTime() - (since ?? now).getTime())} ago; they hold ${held} running steps`,
        'Start a coordinator or a worker: either reaps them at its next tick. If one runs, see its log.',
      ),
    );
  if (live === 0)
    found.push(warn('workers', 'no worker lives: no step starts', 'Start one with `lockkeeper worker`.'));
  else
    found.push(
      ok('workers', `${live} ${live === 1 ? 'worker lives' : 'workers live'} and run ${running} steps`),
    );
  return found;
}
