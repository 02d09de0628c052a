/** `limits add` and `limits drop`: limits of the user's own, beside the configuration. */

import type { Command } from 'commander';
import { InvalidInputError } from '../../errors.ts';
import type { LimitSet } from '../../limits/limits.ts';
import { readText } from '../arguments.ts';
import { answer, settingsOf, withLockkeeper } from '../connect.ts';
import { explain } from '../help.ts';
import type { Io } from '../io.ts';
import { table } from '../table.ts';
import { line } from '../text.ts';
import { paintChange } from './changes.ts';
import { readOwnLimits } from './own-limit.ts';
import { findLimit } from './rows.ts';

export function addOwn(limits: Command, io: Io): void {
  addAdd(limits, io);
  addDrop(limits, io);
}

function addAdd(limits: Command, io: Io): void {
  const command = limits
    .command('add')
    .description('add or change limits of your own, beside the configuration')
    .argument('<file>', 'YAML or JSON: one limit or a list; - is standard input')
    .action(async (file: string, _options: object, command: Command) => {
      const settings = settingsOf(command, io);
      const wanted = readOwnLimits(file, await readText(io, file));
      const added = await withLockkeeper(io, settings, ({ limits }) => limits.setAll(wanted));
      answer(io, settings, { limits: added }, () => saidAdded(io, added));
    });
  explain(command, {
    more: `A limit: of the live runs or steps that match, grouped by per, never more than capacity slots:
  { name: load.each-customer, counts: run, match: { job: load, tag.customer: true }, per: [tag.customer], capacity: 2 }
counts     run: from admission to end; step: while it runs
match      deployment, deployment_kind, job, step, pool, tag.KEY: a text must be equal, true is any value; left out: everything
per        of the same, and run: each group has slots of its own
capacity   slots of each group; 0 starts nothing, null is unlimited; max_concurrent or tag.KEY: the number that is there,
           in a limit grouped by run or by that tag
replaces   names of limits that do not count for what this one matches
All or none are set, in one transaction, and count at once. They stay whatever is applied, until \`limits drop\`.`,
    examples: ['limits add my-limits.yaml', 'limits add -'],
    json: '{ "limits": [{ "name": "load.each-customer", "change": "added" }] }   change: added, changed or unchanged',
  });
}

function saidAdded(io: Io, added: readonly LimitSet[]): string {
  return table(
    io,
    [
      { head: 'CHANGE', of: ({ change }) => change, paint: paintChange },
      { head: 'LIMIT', of: ({ name }) => name },
    ],
    added,
  );
}

function addDrop(limits: Command, io: Io): void {
  const command = limits
    .command('drop')
    .description('drop a limit of your own; it stops counting at once')
    .argument('<name>')
    .action(async (name: string, _options: object, command: Command) => {
      const settings = settingsOf(command, io);
      await withLockkeeper(io, settings, async (lockkeeper) => {
        if (await lockkeeper.limits.drop(name)) return;
        throw notOwn(name, (await findLimit(lockkeeper, name)).source);
      });
      answer(io, settings, { name, dropped: true }, () => line`${name} is dropped.`);
    });
  explain(command, {
    more: 'A limit that is not your own, or that is not there, is an error.',
    examples: ['limits drop load.each-customer'],
    json: '{ "name": "load.each-customer", "dropped": true }',
  });
}

function notOwn(name: string, source: string): InvalidInputError {
  const hints: Record<string, string> = {
    configuration: 'Take it out of the file, and apply that: `lockkeeper limits apply FILE`.',
    pause: 'It is a pause; end it with `lockkeeper resume` or `lockkeeper limits resume`.',
    'built-in': 'It is always there.',
  };
  const hint = hints[source] ?? 'It comes from the executor block of the job: change it there.';
  return new InvalidInputError(`${name} is no limit of your own (source ${source}).`, { hint });
}
