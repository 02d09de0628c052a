/** What stands on the command line, checked; what is wrong there is a wrong usage (exit 2). */

import { readFile } from 'node:fs/promises';
import { InvalidArgumentError } from 'commander';
import { InvalidInputError } from '../errors.ts';
import type { Io } from './io.ts';

/** The bounds of priorities and counts. */
export const int32 = { least: -2_147_483_648, most: 2_147_483_647 };
const biggestRunId = 9_223_372_036_854_775_807n;

/** An integer between two numbers, both included. */
export function integerFrom(from: number, to: number): (text: string) => number {
  return (text) => {
    const value = Number(text);
    if (/^-?\d+$/.test(text) && value >= from && value <= to) return value;
    throw new InvalidArgumentError(`Allowed are integers from ${from} to ${to}.`);
  };
}

const isRunId = (text: string) => /^[1-9]\d{0,18}$/.test(text) && BigInt(text) <= biggestRunId;

/** The number of a run. */
export function runId(text: string): string {
  if (isRunId(text)) return text;
  throw new InvalidArgumentError('Allowed is the number of a run, as `lockkeeper runs list` shows it.');
}

/** The numbers of several runs; given twice, a run counts once. */
export function runIds(text: string, before: readonly string[] = []): string[] {
  return [...new Set([...before, runId(text)])];
}

/** `RUN` or `RUN.STEP`; a step's name may have more points in it. */
export function runAndStep(text: string): { run: string; step?: string } {
  const point = text.indexOf('.');
  if (point < 0) return { run: runId(text) };
  if (point === text.length - 1) throw new InvalidArgumentError('Write RUN.STEP, such as 42.copy.');
  return { run: runId(text.slice(0, point)), step: text.slice(point + 1) };
}

/** One more tag, `KEY=VALUE`, of an option that may be repeated. */
export function tag(text: string, before: Readonly<Record<string, string>> = {}): Record<string, string> {
  const [key, ...value] = text.split('=');
  if (!key || value.length === 0) throw new InvalidArgumentError('Write KEY=VALUE, such as customer=acme.');
  if (Object.hasOwn(before, key)) throw new InvalidArgumentError(`The tag ${key} is given twice.`);
  return Object.fromEntries([...Object.entries(before), [key, value.join('=')]]);
}

const unitMs: Readonly<Record<string, number>> = { ms: 1, s: 1_000, m: 60_000, h: 3_600_000, d: 86_400_000 };

/** A length of time with its unit, such as `90s`; answers milliseconds. */
export function duration(text: string): number {
  const [, number = '', unit = ''] = /^(\d+(?:\.\d+)?)(ms|s|m|h|d)$/.exec(text) ?? [];
  const ms = Math.round(Number(number) * (unitMs[unit] ?? 0));
  if (ms >= 1 && ms <= Number.MAX_SAFE_INTEGER) return ms;
  throw new InvalidArgumentError('Write a number and ms, s, m, h or d, such as 90s.');
}

/** Any JSON. */
export function jsonValue(text: string): unknown {
  try {
    return JSON.parse(text);
  } catch (error) {
    throw new InvalidArgumentError(`This is no JSON: ${(error as Error).message}.`);
  }
}

/**
 * The text of a file, or of standard input for `-`.
 * @throws {InvalidInputError} that names the file.
 */
export async function readText(io: Io, file: string): Promise<string> {
  if (file === '-') return io.readStdin();
  try {
    return await readFile(file, 'utf8');
  } catch (error) {
    const { code, message } = error as NodeJS.ErrnoException;
    const what = code === 'ENOENT' ? 'there is no such file' : message;
    throw new InvalidInputError(`${file} cannot be read: ${what}.`, { cause: error });
  }
}
