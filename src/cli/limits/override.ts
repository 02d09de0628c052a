/** `limits set`, `unset`, `pause` and `resume`: another capacity than the limit's own, for a while. */

import type { Command } from 'commander';
import { InvalidInputError } from '../../errors.ts';
import type { Lockkeeper } from '../../lockkeeper.ts';
import { INT32_MAX } from '../../schema/fields.ts';
import { integerFrom } from '../arguments.ts';
import { answer, settingsOf, withLockkeeper } from '../connect.ts';
import { explain } from '../help.ts';
import type { Io } from '../io.ts';
import { line } from '../text.ts';
import { addReason, authorOf, type ReasonOptions, reasonOf } from './reason.ts';
import { findLimit, type LimitRow, limitJson, readLimits, saidReason, shownConfigured } from './rows.ts';

/** `limit`: as it is now; null: it was a pause, and has gone. */
type Changed = { changed: boolean; limit: LimitRow | null };

const stays = `It stays whatever is applied, until it is unset or its time is over. What runs goes on; to raise a capacity lets more start
at once, to lower it takes no slot away.`;
const changedJson = `{ "changed": true, "limit": ${limitJson} }`;

export function addOverrides(limits: Command, io: Io): void {
  addSet(limits, io);
  addUnset(limits, io);
  addPauseOf(limits, io);
  addResumeOf(limits, io);
}

function addSet(limits: Command, io: Io): void {
  const command = addReason(
    limits
      .command('set')
      .description('an override: a limit counts with this capacity instead of its own')
      .argument('<name>', 'of a limit, as limits list shows it')
      .argument('<capacity>', 'slots of each of its keys; 0 starts nothing new', integerFrom(0, INT32_MAX)),
  ).action(async (name: string, capacity: number, options: ReasonOptions, command: Command) => {
    await override(io, command, name, capacity, options);
  });
  explain(command, {
    more: stays,
    examples: [
      "limits set pool.warehouse 2 --why 'it is slow today' --for 2h",
      "limits set runs 50 --why 'the big backfill' --until 2026-01-31T06:00:00Z --by ana",
    ],
    json: changedJson,
  });
}

function addPauseOf(limits: Command, io: Io): void {
  const command = addReason(
    limits
      .command('pause')
      .description('the same as set with 0: nothing new starts that this limit counts')
      .argument('<name>', 'of a limit; `lockkeeper pause` pauses what has none'),
  ).action(async (name: string, options: ReasonOptions, command: Command) => {
    await override(io, command, name, 0, options);
  });
  explain(command, {
    more: stays,
    examples: ["limits pause pool.warehouse --why 'no disk left' --for 30m"],
    json: changedJson,
  });
}

async function override(io: Io, command: Command, name: string, capacity: number, options: ReasonOptions) {
  const settings = settingsOf(command, io);
  const by = authorOf(io, command, options);
  const limit = await withLockkeeper(io, settings, async (lockkeeper) => {
    refusePause(await findLimit(lockkeeper, name));
    await lockkeeper.limits.override(name, capacity, await reasonOf(lockkeeper, by, options));
    return findLimit(lockkeeper, name);
  });
  answer(io, settings, { changed: true, limit } satisfies Changed, () => saidOverride(limit));
}

/** Another capacity than 0 would make a limit of it, and each of its two rows would have its own. */
function refusePause({ name, source }: LimitRow): void {
  if (source !== 'pause') return;
  throw new InvalidInputError(`${name} is a pause, not a limit that can have another capacity.`, {
    hint: 'Pause it again with `lockkeeper pause` to change its reason or its end; `lockkeeper limits resume` ends it.',
  });
}

function saidOverride(limit: LimitRow): string {
  const { name, override } = limit;
  const instead = line` instead of ${shownConfigured(limit)}`;
  if (override === 0) return `${line`${name} is paused: its capacity is 0`}${instead}${saidReason(limit)}.`;
  return `${line`${name} counts with capacity ${override}`}${instead}${saidReason(limit)}.`;
}

function addUnset(limits: Command, io: Io): void {
  const command = limits
    .command('unset')
    .description('end an override: the limit counts with its own capacity again')
    .argument('<name>', 'of a limit')
    .action(async (name: string, _options: object, command: Command) => {
      const settings = settingsOf(command, io);
      const said = await withLockkeeper(io, settings, (lockkeeper) => unset(lockkeeper, name));
      answer(io, settings, said, () => saidUnset(name, said));
    });
  explain(command, {
    more: 'Of a limit that has no override it changes nothing.',
    examples: ['limits unset pool.warehouse'],
    json: `${changedJson}
changed: false, when there was no override. limit: null when it was a pause, which is gone then.`,
  });
}

function addResumeOf(limits: Command, io: Io): void {
  const command = limits
    .command('resume')
    .description('end the pause of a limit')
    .argument('<name>', 'of a limit that is paused')
    .action(async (name: string, _options: object, command: Command) => {
      const settings = settingsOf(command, io);
      const said = await withLockkeeper(io, settings, async (lockkeeper) => {
        refuseUnlessPaused(await findLimit(lockkeeper, name));
        return unset(lockkeeper, name);
      });
      answer(io, settings, said, () => saidUnset(name, said));
    });
  explain(command, {
    more: 'A limit that is not paused by an override is an error.',
    examples: ['limits resume pool.warehouse'],
    json: `${changedJson}
limit: null when it was a pause of \`lockkeeper pause\`, which is gone then.`,
  });
}

async function unset(lockkeeper: Lockkeeper, name: string): Promise<Changed> {
  await findLimit(lockkeeper, name);
  const changed = await lockkeeper.limits.unset(name);
  const [limit = null] = await readLimits(lockkeeper, name);
  return { changed, limit };
}

function refuseUnlessPaused({ name, override, configured }: LimitRow): void {
  if (override === 0) return;
  if (override !== null)
    throw new InvalidInputError(`${name} is not paused: an override gives it capacity ${override}.`, {
      hint: '`lockkeeper limits unset` ends any override.',
    });
  throw new InvalidInputError(
    configured === 0
      ? `${name} has no override: its own capacity is 0.`
      : `${name} is not paused: it counts with its own capacity.`,
    {
      hint:
        configured === 0
          ? 'Raise it where it comes from, or for a while with `lockkeeper limits set`.'
          : '`lockkeeper limits list` shows what is paused, and by whom.',
    },
  );
}

function saidUnset(name: string, { changed, limit }: Changed): string {
  if (limit === null) return line`${name} is over: what it held back starts as the limits allow.`;
  const own = line`${shownConfigured(limit)}`;
  if (!changed) return `${line`${name} had no override`}; its capacity is ${own}.`;
  return `${line`${name} counts with its own capacity again`}: ${own}.`;
}
