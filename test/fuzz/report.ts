/** What is told of a failure: how to play it again, what was done, what differs; and the same as a scenario file. */
import { mkdir, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { Model, type Setting } from '../model/model.ts';
import { type Action, asEvents, inWords } from './actions.ts';
import type { Difference, Looked } from './fuzz.ts';
import type { Product } from './product.ts';
import { prune } from './prune.ts';

type Failure = NonNullable<Looked['failure']>;

export type ReportOptions = {
  length: number;
  preset?: string | undefined;
  /** A folder for the scenario file; one under the system's temporary folder if left out. */
  out?: string | undefined;
};

/** Makes the failure as small as it gets, writes its scenario file, and answers the text for people. */
export async function report(
  product: Product,
  { seed, path, difference }: Failure,
  { length, preset, out = join(tmpdir(), 'lockkeeper-fuzz') }: ReportOptions,
): Promise<string> {
  const least = await prune(product, difference);
  const { setting, actions, lines } = least;
  await mkdir(out, { recursive: true });
  const file = join(out, `fuzz-${seed}.json`);
  const again = [
    `--seed ${seed} --path ${path} --length ${length}`,
    ...(preset ? [`--preset ${preset}`] : []),
  ];
  const command = `npm run fuzz -- ${again.join(' ')}`;
  await writeFile(file, scenario(least, command));
  return [
    `Model and database differ. Play it again: ${command}`,
    `As a scenario: ${file}`,
    ...Object.entries(setting).map(([name, value]) => `${name}: ${JSON.stringify(value)}`),
    ...actions.map((action, place) => `${place + 1}. ${inWords(action)}`),
    ...lines.map((line) => `  ${line}`),
  ].join('\n');
}

/** Ends with what the model says must be seen, if FORMAT.md has words for all that was done. */
function scenario({ setting, actions, lines }: Difference, source: string): string {
  const unsaid = actions.filter((action) => asEvents(action) === undefined);
  const events = actions.flatMap((action) => asEvents(action) ?? []);
  const expected = unsaid.length === 0 ? expectation(setting, actions) : undefined;
  const why = [
    ...unsaid.map((action) => `FORMAT.md has no word for: ${inWords(action)}.`),
    ...lines.map((line) => `${line}.`),
  ];
  const head = { name: 'found-by-fuzz', mechanisms: [], source, why: why.join(' '), ...setting };
  const told = [...events, ...(expected ? [{ expect: expected }] : [])];
  return `${JSON.stringify({ ...head, events: told }, null, 2)}\n`;
}

function expectation(setting: Setting, actions: Action[]): object | undefined {
  try {
    const model = new Model(setting);
    for (const action of actions) playOnModel(model, action);
    return model.snapshot();
  } catch {
    return undefined; // The last action is one that the model refuses.
  }
}

function playOnModel(model: Model, action: Action): void {
  if ('rejected' in action && action.rejected !== undefined) return;
  if (action.do === 'settle') model.settle();
  else if (action.do === 'submit') for (const run of action.runs) model.submit(run);
  else if (action.do === 'cancel') for (const run of action.runs) model.cancel(run, action.force);
  else if (action.do === 'apply') model.apply(action.config);
  else if (action.do === 'crash') model.crash(action.worker);
  else if (action.do === 'advance') model.advance(action.seconds);
  else if (action.do === 'end') {
    for (const { step, attempt, fails } of action.endings) {
      const from = { worker: action.worker, attempt };
      if (fails) model.fail(step, from);
      else model.finish(step, from);
    }
  }
}
