/** What changes runs that are there: cancel, retry, another priority. */

import type { Command } from 'commander';
import type { Lockkeeper } from '../lockkeeper.ts';
import { int32, integerFrom, runIds } from './arguments.ts';
import { answer, settingsOf, withLockkeeper } from './connect.ts';
import { Unsuccessful } from './failure.ts';
import { explain } from './help.ts';
import type { Io } from './io.ts';
import { line } from './text.ts';

type Changed = { run_id: string; state: string };

/** Does it to one run after the other, prints what each came to, and fails if one does not exist. */
async function change<Row extends Changed>(
  io: Io,
  command: Command,
  ids: readonly string[],
  one: (lockkeeper: Lockkeeper, id: string) => Promise<Row>,
  said: (row: Row) => string,
): Promise<Row[]> {
  const settings = settingsOf(command, io);
  const rows = await withLockkeeper(io, settings, async (lockkeeper) => {
    const all: Row[] = [];
    for (const id of ids) all.push(await one(lockkeeper, id));
    return all;
  });
  answer(io, settings, { runs: rows }, () => rows.map(said).join('\n'));
  const unknown = rows.filter(({ state }) => state === 'unknown').map((run) => run.run_id);
  if (unknown.length > 0) throw new Unsuccessful(`There is no run ${unknown.join(', ')}.`);
  return rows;
}

export function addCancel(runs: Command, io: Io): void {
  const command = runs
    .command('cancel')
    .description('cancel runs; their running steps end first, or at once with --force')
    .argument('<run...>', 'their numbers', runIds)
    .option('--force', 'end running attempts now, slots and all')
    .action(async (ids: string[], { force = false }: { force?: boolean }, command: Command) => {
      const one = async (lockkeeper: Lockkeeper, id: string) => ({
        run_id: id,
        state: await lockkeeper.cancel(id, { force }),
      });
      await change(io, command, ids, one, saidCanceled);
    });
  explain(command, {
    more: 'A run that has ended stays as it is. A run that does not exist: exit code 1, and the others are canceled.',
    examples: ['runs cancel 42 43', 'runs cancel 42 --force'],
    json: '{ "runs": [{ "run_id": "42", "state": "canceled" }] }   state: as in runs list, or unknown',
    exit: '1 if a run does not exist',
  });
}

function saidCanceled({ run_id, state }: Changed): string {
  if (state === 'canceled') return line`Run ${run_id} is canceled.`;
  if (state === 'unknown') return line`Run ${run_id} does not exist.`;
  if (state === 'succeeded' || state === 'failed') return line`Run ${run_id} had ended already: ${state}.`;
  return line`Run ${run_id} is being canceled: it ends when its running steps do.`;
}

type Retry = Changed & { new_run_id: string | null };

export function addRetry(runs: Command, io: Io): void {
  const command = runs
    .command('retry')
    .description('run again what did not succeed of runs that failed or were canceled')
    .argument('<run...>', 'their numbers', runIds)
    .action(async (ids: string[], _options: object, command: Command) => {
      const one = async (lockkeeper: Lockkeeper, id: string): Promise<Retry> => {
        const { newRunId, state } = await lockkeeper.retry(id);
        return { run_id: id, new_run_id: newRunId, state };
      };
      const rows = await change(io, command, ids, one, saidRetry);
      if (rows.some(({ new_run_id }) => new_run_id === null)) throw new Unsuccessful();
    });
  explain(command, {
    more: 'Each becomes a new run of the same job version with the same input: steps that succeeded keep their outputs, the others\nrun again. One whose retry is under way gets no second.',
    examples: ['runs retry 42', 'runs retry 42 43'],
    json: '{ "runs": [{ "run_id": "42", "new_run_id": "57", "state": "failed" }] }   new_run_id: null if there was nothing to retry; state says why',
    exit: '1 if a run was not retried',
  });
}

function saidRetry({ run_id, new_run_id, state }: Retry): string {
  if (new_run_id !== null) return line`Run ${run_id} ${state}; run ${new_run_id} does the rest.`;
  if (state === 'unknown') return line`Run ${run_id} does not exist.`;
  if (state === 'succeeded') return line`Run ${run_id} succeeded: there is nothing to retry.`;
  return line`Run ${run_id} is ${state}: only one that failed or was canceled can be retried.`;
}

export function addPriority(runs: Command, io: Io): void {
  const command = runs
    .command('priority')
    .description('give queued runs another priority: higher goes first')
    .argument('<run...>', 'their numbers, and at last the priority')
    .action(async (given: string[], _options: object, command: Command) => {
      const { ids, priority } = parsePriority(command, given);
      const one = async (lockkeeper: Lockkeeper, id: string) => ({
        run_id: id,
        state: await lockkeeper.setPriority(id, priority),
      });
      const rows = await change(io, command, ids, one, saidPriority(priority));
      if (rows.some(({ state }) => state !== 'queued')) throw new Unsuccessful();
    });
  explain(command, {
    more: 'A negative priority stands behind --.',
    examples: ['runs priority 42 10', 'runs priority 42 43 100', 'runs priority 42 -- -5'],
    json: '{ "runs": [{ "run_id": "42", "state": "queued" }] }   state: as in runs list, or unknown; only queued ones have changed',
    exit: '1 if a run is not queued any more',
  });
}

function parsePriority(command: Command, given: readonly string[]): { ids: string[]; priority: number } {
  const priority = given.at(-1);
  if (given.length < 2 || priority === undefined)
    command.error('error: write the runs, and then the priority: 42 43 10', { exitCode: 2 });
  try {
    const ids = given.slice(0, -1).reduce<string[]>((before, id) => runIds(id, before), []);
    return { ids, priority: integerFrom(int32.least, int32.most)(priority) };
  } catch (error) {
    return command.error(`error: ${(error as Error).message}`, { exitCode: 2 });
  }
}

const saidPriority =
  (priority: number) =>
  ({ run_id, state }: Changed): string => {
    if (state === 'queued') return line`Run ${run_id} has priority ${priority}.`;
    if (state === 'unknown') return line`Run ${run_id} does not exist.`;
    return line`Run ${run_id} is ${state}: only a queued run can get another priority.`;
  };
