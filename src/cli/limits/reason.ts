/** Who changes something while things run, why, and until when. */

import { type Command, InvalidArgumentError, Option } from 'commander';
import type { Reasoned } from '../../limits/limits.ts';
import type { Lockkeeper } from '../../lockkeeper.ts';
import { moment } from '../../schema/fields.ts';
import { select } from '../connect.ts';
import type { Io } from '../io.ts';

/** As commander gives them: `for` in seconds, `until` as ISO 8601. */
export type ReasonOptions = { why: string; for?: number; until?: string; by?: string };

const secondsIn = { w: 604_800, d: 86_400, h: 3_600, m: 60, s: 1 };
const mostSeconds = 36_500 * secondsIn.d;

/** A length of time such as `30m`, `2h` or `1d12h`, in seconds; a day has 24 hours. */
export function duration(text: string): number {
  const [, ...numbers] = /^(?:(\d+)w)?(?:(\d+)d)?(?:(\d+)h)?(?:(\d+)m)?(?:(\d+)s)?$/.exec(text) ?? [];
  const seconds = Object.values(secondsIn).reduce((sum, unit, i) => sum + unit * Number(numbers[i] ?? 0), 0);
  if (seconds > 0 && seconds <= mostSeconds) return seconds;
  throw new InvalidArgumentError('Write a time such as 90s, 30m, 2h, 1d12h or 2w, up to 36500d.');
}

/** A moment, in ISO 8601 with its zone. */
export function time(text: string): string {
  if (moment.safeParse(text).success) return text;
  throw new InvalidArgumentError('Write it as ISO 8601, with its zone, such as 2026-01-31T06:00:00Z.');
}

function notEmpty(text: string): string {
  if (text.trim() !== '') return text;
  throw new InvalidArgumentError('It must not be empty: others will ask.');
}

/** Adds --why, --for, --until and --by. */
export function addReason(command: Command): Command {
  const lasting = new Option('--for <duration>', 'it ends by itself after so long, such as 30m, 2h or 1d12h');
  return command
    .requiredOption('--why <text>', 'the reason, which is shown to whoever waits', notEmpty)
    .addOption(lasting.argParser(duration).conflicts('until'))
    .option('--until <time>', 'it ends by itself at this time, such as 2026-01-31T06:00:00Z', time)
    .option('--by <name>', 'who does it (default: the name of the user of the system)', notEmpty);
}

/** Who it is: as said, else as the system calls its user. Neither is a wrong usage. */
export function authorOf(io: Io, command: Command, { by }: ReasonOptions): string {
  const { USER, LOGNAME, USERNAME } = io.env;
  return (
    by ||
    USER ||
    LOGNAME ||
    USERNAME ||
    command.error('error: nobody knows who you are; say it with --by NAME', { exitCode: 2 })
  );
}

/** The reason as the API takes it; the database says what time it is. */
export async function reasonOf(
  lockkeeper: Lockkeeper,
  by: string,
  { why, for: seconds, until }: ReasonOptions,
): Promise<Reasoned> {
  if (seconds === undefined) return { by, why, until };
  const [end] = await select<{ until: Date }>(
    lockkeeper,
    'select lockkeeper.now() + make_interval(secs => $1) as until',
    [seconds],
  );
  return { by, why, until: end?.until };
}
