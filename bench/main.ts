/**
 * `npm run bench -- [NAME …] [--quick] [--json FILE] [--docs]`: measures the figures, ours and the peers, and says which
 * goals were met. Each figure is kept as soon as it is measured. Exit 1 when a part of one could not be measured; a goal
 * that was missed is a result, no failure.
 */

import { mkdirSync, mkdtempSync, renameSync, rmSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { figures } from './figures/index.ts';
import { type Asked, askedOf } from './lib/arguments.ts';
import { type Machine, machineOf } from './lib/machine.ts';
import { measureFigure } from './lib/measure-figure.ts';
import { type Measured, writePage } from './lib/page.ts';
import { figureText, verdictsText } from './lib/report.ts';
import { type MeasuredServer, withServer } from './lib/server.ts';
import type { Bench } from './types.ts';

const repeats = { quick: 3, full: 5 };
const scratch = fileURLToPath(new URL('../.lockkeeper/bench', import.meta.url));
const docs = fileURLToPath(new URL('../docs/bench', import.meta.url));
const known = Object.keys(figures);

type Measuring = Parameters<typeof measureFigure>[0];

/** One after the other; what was measured is kept after each, so that a bench that is ended loses nothing. */
async function measureAll(
  asked: Asked,
  context: Omit<Measuring, 'name'>,
  machine: Machine,
): Promise<Measured[]> {
  const all: Measured[] = [];
  const benches = await Promise.all(asked.names.map(benchOf));
  for (const { name, title, about } of benches) {
    const began = performance.now();
    const figure = await measureFigure({ ...context, name });
    const measured = { name, title, about, quick: asked.quick, machine, ...figure };
    all.push(measured);
    console.log(`\n${figureText(`${name}: ${title}`, figure)}`);
    console.error(`${name}: ${((performance.now() - began) / 1_000).toFixed(0)} s`);
    await keep(asked, all, measured);
  }
  return all;
}

async function benchOf(name: string): Promise<Bench> {
  const bench = await figures[name]?.();
  if (!bench) throw new Error(`The figure ${name} has no file.`);
  return bench;
}

async function keep({ json, docs: page }: Asked, all: readonly Measured[], last: Measured): Promise<void> {
  if (json !== undefined) {
    const results = all.flatMap((each) => each.results);
    writeFileSync(`${json}.part`, `${JSON.stringify(results, null, 2)}\n`);
    renameSync(`${json}.part`, json);
  }
  if (page) await writePage(docs, [last], known);
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

// So that the many processes do not each translate and compile the same files.
process.env.NODE_COMPILE_CACHE ??= join(scratch, 'compiled');

const asked = ask();
const measured = await withServer(async (server: MeasuredServer) => {
  const machine = await machineOf(server);
  for (const [name, value] of Object.entries(machine)) console.log(`${name}: ${value}`);
  const { quick } = asked;
  return inFolder((folder) =>
    measureAll(asked, { quick, repeats: quick ? repeats.quick : repeats.full, server, folder }, machine),
  );
});
const verdicts = measured.flatMap((each) => each.verdicts);
console.log(`\n${verdictsText(verdicts)}`);
const failed = verdicts.filter((verdict) => verdict.failed);
if (failed.length > 0) {
  console.error(`Not measured: ${failed.map((each) => `${each.bench}, ${each.case}`).join('; ')}`);
  process.exitCode = 1;
}
