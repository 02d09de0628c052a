/**
 * Plays scenario files on the reference model and tells what differs.
 *
 *   node test/model/check.ts DIR_OR_FILE…
 */
import { readdirSync, readFileSync, statSync } from 'node:fs';
import { join } from 'node:path';
import type { Event, Scenario, Snapshot, Submission } from './format.ts';
import { type From, Model } from './model.ts';
import { Refused } from './refusals.ts';

export type { Event, Scenario } from './format.ts';

/** Does what the event says. Returns what differs from it, a line for each. */
export function play(model: Model, event: Event): string[] {
  if (event.expect) return differences(model.snapshot(), event.expect);
  const step = event.finish ?? event.fail;
  if (step !== undefined) return playReport(model, event, step);
  if (event.rejected !== undefined) return playRejected(model, event, event.rejected);
  change(model, event);
  return [];
}

function change(model: Model, event: Event): void {
  if (event.submit !== undefined) model.submit(event as Submission);
  else if (event.settle) model.settle();
  else if (event.cancel !== undefined) model.cancel(event.cancel, event.force);
  else if (event.apply !== undefined) model.apply(event.apply);
  else if (event.crash !== undefined) model.crash(event.crash);
  else if (event.advance !== undefined) model.advance(event.advance);
  else if (event.restart) model.restart();
  else throw new Error(`not an event: ${JSON.stringify(event)}`);
}

function playReport(model: Model, { finish, worker, attempt, refused }: Event, step: string): string[] {
  const from: From | undefined =
    worker !== undefined && attempt !== undefined ? { worker, attempt } : undefined;
  const before = JSON.stringify(model.snapshot());
  const accepted = finish === undefined ? model.fail(step, from) : model.finish(step, from);
  if (accepted === (refused === true)) return [`${step}: ${accepted ? 'accepted' : 'refused'}`];
  return refused && JSON.stringify(model.snapshot()) !== before
    ? [`${step}: refused, but something changed`]
    : [];
}

function playRejected(model: Model, event: Event, text: string): string[] {
  const before = JSON.stringify(model.snapshot());
  try {
    change(model, event);
    return [`accepted, but should be rejected for ${text}`];
  } catch (error) {
    if (!(error instanceof Refused)) throw error;
    const found = error.message.toLowerCase().includes(text.toLowerCase());
    if (!found) return [`"${error.message}" does not say ${text}`];
    return JSON.stringify(model.snapshot()) === before ? [] : ['rejected, but something changed'];
  }
}

function differences(seen: Snapshot, expected: Partial<Snapshot>): string[] {
  const lines: string[] = [];
  const compare = (what: string, seen: unknown, expected: unknown) => {
    const [a, b] = [JSON.stringify(seen), JSON.stringify(expected)];
    if (a !== b) lines.push(`${what}: model ${a}, file ${b}`);
  };
  for (const [run, state] of Object.entries(expected.runs ?? {})) compare(run, seen.runs[run], state);
  for (const [step, state] of Object.entries(expected.steps ?? {})) compare(step, seen.steps[step], state);
  for (const [subject, keys] of Object.entries(expected.waiting ?? {})) {
    compare(`waiting of ${subject}`, seen.waiting[subject], [...keys].sort());
  }
  for (const [key, slots] of Object.entries(expected.in_use ?? {})) {
    compare(`in_use of ${key}`, seen.in_use[key] ?? 0, slots);
  }
  if (expected.order) compare('order', seen.order, expected.order);
  return lines;
}

/** Plays all events; what differs, with the number of the event (the first is 1). */
export function check(scenario: Scenario): string[] {
  const model = new Model(scenario);
  return scenario.events.flatMap((event, place) =>
    play(model, event).map((line) => `event ${place + 1}: ${line}`),
  );
}

/** The scenario files among the paths: files as they are, of a folder all that end in .json, in order. */
export function scenarioFiles(paths: string[]): string[] {
  return paths.flatMap((path) => {
    if (!statSync(path).isDirectory()) return [path];
    const names = readdirSync(path).filter((name) => name.endsWith('.json'));
    return names.sort().map((name) => join(path, name));
  });
}

export function readScenario(file: string): Scenario {
  return JSON.parse(readFileSync(file, 'utf8')) as Scenario;
}

if (import.meta.main) {
  const files = scenarioFiles(process.argv.slice(2));
  if (files.length === 0) throw new Error('usage: node test/model/check.ts DIR_OR_FILE…');
  let bad = 0;
  for (const file of files) {
    const lines = check(readScenario(file));
    if (lines.length > 0) bad += 1;
    for (const line of lines) console.log(`${file}: ${line}`);
  }
  console.log(`${files.length} files, ${bad} with differences`);
  process.exitCode = bad > 0 ? 1 : 0;
}
