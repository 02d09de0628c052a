/**
 * `npm run bench -- [NAME …] [--quick] [--json FILE] [--docs]`: measures the figures, ours and the peers, and says which
 * goals were met. Exit 1 when a figure could not be measured; a goal that was missed is a result, no failure.
 */

import { mkdirSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { fileURLToPath } from 'node:url';
import { figures } from './figures/index.ts';
import { type Asked, askedOf } from './lib/arguments.ts';
import { type Machine, machineOf } from './lib/machine.ts';
import { type Measured, writePage } from './lib/page.ts';
import { figureText, verdictsText } from './lib/report.ts';
import { type MeasuredServer, withServer } from './lib/server.ts';
import type { Context } from './types.ts';

const repeats = { quick: 3, full: 5 };
const scratch = fileURLToPath(new URL('../.lockkeeper/bench', import.meta.url));
const docs = fileURLToPath(new URL('../docs/bench', import.meta.url));
const known = Object.keys(figures);

type Outcome = { measured: Measured[]; failed: string[] };

async function measureAll(
  names: readonly string[],
  context: Omit<Context, 'say'>,
  machine: Machine,
): Promise<Outcome> {
  const outcome: Outcome = { measured: [], failed: [] };
  for (const name of names) {
    const began = performance.now();
    try {
      const bench = await figures[name]?.();
      if (!bench) throw new Error(`The figure ${name} has no file.`);
      const figure = await bench.run({ ...context, say: (line) => console.error(`${name}: ${line}`) });
      const { title, about } = bench;
      outcome.measured.push({ name, title, about, quick: context.quick, machine, ...figure });
      console.log(`\n${figureText(`${name}: ${title}`, figure)}`);
    } catch (error) {
      outcome.failed.push(name);
      console.error(`\n${name} could not be measured:`, error);
    }
    console.error(`${name}: ${((performance.now() - began) / 1_000).toFixed(0)} s`);
  }
  return outcome;
}

async function inFolder<T>(use: (folder: string) => Promise<T>): Promise<T> {
  mkdirSync(scratch, { recursive: true });
  const folder = mkdtempSync(`${scratch}/`);
  try {
    return await use(folder);
  } finally {
    rmSync(folder, { recursive: true, force: true });
  }
}

function ask(): Asked {
  try {
    return askedOf(process.argv.slice(2), known);
  } catch (error) {
    console.error((error as Error).message);
    process.exit(1);
  }
}

const asked = ask();
const { measured, failed } = await withServer(async (server: MeasuredServer) => {
  const machine = await machineOf(server);
  for (const [name, value] of Object.entries(machine)) console.log(`${name}: ${value}`);
  const { quick } = asked;
  return inFolder((folder) =>
    measureAll(
      asked.names,
      { quick, repeats: quick ? repeats.quick : repeats.full, server, folder },
      machine,
    ),
  );
});
console.log(`\n${verdictsText(measured.flatMap(({ verdicts }) => verdicts))}`);
const results = measured.flatMap((each) => each.results);
if (asked.json !== undefined) writeFileSync(asked.json, `${JSON.stringify(results, null, 2)}\n`);
if (asked.docs) await writePage(docs, measured, known);
if (failed.length > 0) {
  console.error(`Not measured: ${failed.join(', ')}`);
  process.exitCode = 1;
}
