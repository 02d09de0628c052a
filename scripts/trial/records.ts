/** What the database recorded, against what was submitted and what the handlers marked. */

import type { Database } from '../../src/database.ts';
import { type Attempt, attemptName } from './observer.ts';
import { endOf } from './workload.ts';

/** Every run ended, and as it must. `numbers`: the trial's number of each run. */
export async function wrongRuns(database: Database, numbers: ReadonlyMap<string, number>): Promise<string[]> {
  const { rows } = await database.execute('select run_id, state from lockkeeper.runs', []);
  const wrong: string[] = [];
  for (const { run_id, state } of rows) {
    const no = numbers.get(String(run_id));
    if (no === undefined) wrong.push(`run ${run_id} was never submitted`);
    else if (state !== endOf(no))
      wrong.push(
        `run ${run_id} is ${state}, it should be ${endOf(no)}. ${await reasons(database, String(run_id))}`,
      );
  }
  if (rows.length !== numbers.size)
    wrong.push(`${numbers.size} runs were submitted, ${rows.length} are there`);
  return wrong;
}

/** Why a run that should have ended is not getting on; nothing for one that has ended. */
async function reasons(database: Database, runId: string): Promise<string> {
  const { rows } = await database.execute('select step_name, sentence from lockkeeper.why($1)', [runId]);
  return rows.map(({ step_name, sentence }) => `${step_name ?? 'The run'}: ${sentence}`).join(' ');
}

/**
 * Each attempt that a handler saw is recorded once, with its outcome; what nobody saw was handed back unstarted, or
 * lost with the killed process before it could start.
 */
export async function wrongAttempts(
  database: Database,
  seen: ReadonlyMap<string, Attempt>,
  killed: string,
): Promise<string[]> {
  const { rows } = await database.execute(
    `select a.run_id, s.step, a.attempt, a.outcome, a.worker
     from lockkeeper.attempts a join lockkeeper.steps s using (run_id, place)`,
    [],
  );
  const wrong: string[] = [];
  const recorded = new Set<string>();
  for (const row of rows) {
    const attempt = { run: String(row.run_id), step: String(row.step), attempt: Number(row.attempt) };
    const name = attemptName(attempt);
    if (recorded.has(name)) wrong.push(`${name} is recorded twice`);
    recorded.add(name);
    const problem = problemOf(String(row.outcome), String(row.worker), seen.get(name), killed);
    if (problem) wrong.push(`${name}: ${problem}`);
  }
  for (const name of seen.keys()) if (!recorded.has(name)) wrong.push(`${name} is not recorded`);
  return wrong;
}

function problemOf(outcome: string, worker: string, seen: Attempt | undefined, killed: string) {
  if (outcome === 'returned') return seen && `was handed back, but started at ${seen.pod}`;
  if (outcome === 'lost') return worker === killed ? undefined : `was lost by ${worker}, which lived`;
  if (!seen) return `is recorded as ${outcome}, but never started`;
  if (worker !== seen.pod) return `is recorded of ${worker}, but started at ${seen.pod}`;
  return outcome === seen.outcome ? undefined : `is recorded as ${outcome}, its handler ${seen.outcome}`;
}
