/** The log of what runs: lines for people, or with --json those of pino. */

import pino from 'pino';
import { InvalidInputError } from '../errors.ts';
import type { Logger } from '../jobs.ts';
import { wallClockMs } from '../wake.ts';
import { type Colours, coloursOf, errColoursOf, type Io } from './io.ts';
import { harmless, harmlessLines, shownTime, shownValue } from './text.ts';

const levels = ['trace', 'debug', 'info', 'warn', 'error', 'fatal', 'silent'];
const shownFrames = 4;

/** `to`: where the lines go. */
type Options = { io: Io; json?: boolean; to: 'out' | 'err' };
type Level = 'debug' | 'info' | 'warn' | 'error';

/**
 * A log at level LOG_LEVEL (info).
 * @throws {InvalidInputError} if there is no such level.
 */
export function logOf({ io, json, to }: Options): Logger {
  const write = io[to];
  const colours = to === 'out' ? coloursOf(io) : errColoursOf(io);
  const level = io.env.LOG_LEVEL || 'info';
  if (!levels.includes(level))
    throw new InvalidInputError(`LOG_LEVEL is "${level}"; allowed are ${levels.join(', ')}.`);
  if (json) return pino({ level }, { write: (text: string) => write(text.trimEnd()) });
  return forPeople({ colours, from: levels.indexOf(level), write }, {});
}

type Parts = { colours: Colours; from: number; write: (line: string) => void };

function forPeople(parts: Parts, fields: object): Logger & { child(more: object): Logger } {
  const at = (level: Level) => (first: object | string, message?: string) => {
    if (levels.indexOf(level) < parts.from) return;
    const [own, text] = typeof first === 'string' ? [{}, first] : [first, message ?? ''];
    parts.write(lineOf(parts.colours, level, text, { ...fields, ...own }));
  };
  return {
    debug: at('debug'),
    info: at('info'),
    warn: at('warn'),
    error: at('error'),
    child: (more) => forPeople(parts, { ...fields, ...more }),
  };
}

function lineOf(colours: Colours, level: Level, message: string, fields: Record<string, unknown>): string {
  const { err, ...others } = fields;
  const paint = { debug: colours.dim, info: colours.cyan, warn: colours.yellow, error: colours.red }[level];
  const pairs = Object.entries(others).map(
    ([name, value]) => `${colours.dim(`${harmless(name)}=`)}${harmless(shownValue(value))}`,
  );
  const time = shownTime(new Date(wallClockMs()));
  const said = [colours.dim(time), paint(level.padEnd(5)), harmless(message), ...pairs].join(' ');
  return err === undefined ? said : `${said}\n${harmlessLines(errorOf(err))}`;
}

/** An error with the top of its stack, indented. */
function errorOf(error: unknown): string {
  const { name, message, stack } = error as { name?: unknown; message?: unknown; stack?: unknown };
  const frames = typeof stack === 'string' ? stack.split('\n').filter((each) => /^\s+at /.test(each)) : [];
  const lines = [`${name ?? 'Error'}: ${message ?? shownValue(error)}`, ...frames.slice(0, shownFrames)];
  return lines.map((each) => `  ${each}`).join('\n');
}
