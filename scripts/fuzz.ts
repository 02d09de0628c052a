/**
 * `npm run fuzz -- --minutes N [--seed S] [--length L] [--preset P] [--out DIR]`: random histories on the reference model
 * and on two databases at once, until the time is over; exit 1 with a report if they differ.
 * `npm run fuzz -- --seed S --path P …` plays one again that was found.
 */

import { randomInt } from 'node:crypto';
import { parseArgs } from 'node:util';
import { look, presetNames } from '../test/fuzz/fuzz.ts';
import { Product } from '../test/fuzz/product.ts';
import { report } from '../test/fuzz/report.ts';
import { postgresForTools } from '../test/support/server.ts';
import { createTemplate, dropTemplate } from '../test/support/template.ts';

const atOnce = 2;
/** Of one seed, after which the next begins. */
const sequencesOfSeed = 100;

const { values } = parseArgs({
  options: {
    minutes: { type: 'string', default: '1' },
    seed: { type: 'string', default: String(randomInt(1_000_000_000)) },
    length: { type: 'string', default: '30' },
    preset: { type: 'string' },
    path: { type: 'string' },
    out: { type: 'string' },
  },
});

function numberOf(name: 'minutes' | 'seed' | 'length'): number {
  const number = Number(values[name]);
  if (!(number >= 0)) throw new Error(`--${name} ${values[name]}: must be a number from 0`);
  return number;
}

const [minutes, first, length] = [numberOf('minutes'), numberOf('seed'), numberOf('length')];
const { path, out } = values;
const preset = presetNames.find((name) => name === values.preset);
if (values.preset !== undefined && preset === undefined)
  throw new Error(`--preset ${values.preset}: must be one of ${presetNames.join(', ')}`);

const started = process.hrtime.bigint();
const spent = () => Number((process.hrtime.bigint() - started) / 1_000_000n);
const shrinking = 120_000;
const total = { sequences: 0, commands: 0 };
const reports: string[] = [];
let seed = first;

/** Takes one seed after the other. */
async function search(product: Product): Promise<void> {
  while (reports.length === 0 && (path !== undefined || spent() < minutes * 60_000)) {
    const looked = await look(product, {
      seed: seed++,
      sequences: sequencesOfSeed,
      length,
      preset,
      path,
      shrinking,
      over: () => reports.length > 0 || spent() > minutes * 60_000,
    });
    total.sequences += looked.sequences;
    total.commands += looked.actions;
    if (looked.failure) reports.push(await report(product, looked.failure, { length, preset, out }));
    if (path !== undefined) return;
  }
}

console.log(`seed ${first}`);
const server = await postgresForTools();
const template = await createTemplate(server);
try {
  const searches = Array.from({ length: path === undefined ? atOnce : 1 }, async () => {
    const { product, close } = await Product.open(template);
    await search(product).finally(close);
  });
  await Promise.all(searches);
} finally {
  await dropTemplate(template);
  await server.close();
}
for (const text of reports) console.log(text);
const seconds = Math.round(spent() / 1000);
console.log(
  `${total.sequences} sequences, ${total.commands} commands in ${seconds} s, ${reports.length} failed`,
);
process.exitCode = reports.length > 0 ? 1 : 0;
