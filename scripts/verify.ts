/**
 * `npm run verify -- [NAME…] [--quick]`: checks the models of test/verify with Spin, and that each fault seeded in them is found.
 * A NAME is a case or the beginning of one: `lease`, `sleep/TAKING`. Exit 1 if a model does not hold, a fault is not found,
 * or a search is incomplete.
 */

import { parseArgs } from 'node:util';
import { cases, nameOf } from '../test/verify/cases.ts';
import { isAsExpected, missingPrograms, search } from '../test/verify/spin.ts';

const { values, positionals } = parseArgs({
  options: { quick: { type: 'boolean', default: false } },
  allowPositionals: true,
});
const isNamed = (name: string, by: string) => name === by || name.startsWith(`${by}/`);
const unknown = positionals.filter((by) => !cases.some((one) => isNamed(nameOf(one), by)));
if (unknown.length > 0) {
  console.error(`There is no case ${unknown.join(', ')}. There are:\n  ${cases.map(nameOf).join('\n  ')}`);
  process.exit(2);
}
const missing = await missingPrograms();
if (missing.length > 0) {
  console.error(`${missing.join(' and ')} cannot be run. Install: apt install spin gcc`);
  process.exit(2);
}

const chosen = cases.filter(
  (one) =>
    !(values.quick && one.long) &&
    (positionals.length === 0 || positionals.some((by) => isNamed(nameOf(one), by))),
);
const width = Math.max(...chosen.map((one) => nameOf(one).length));
const line = (...[name, expected, result, states, depth, seconds, found]: string[]) =>
  [
    name?.padEnd(width),
    expected?.padEnd(8),
    result?.padEnd(10),
    states?.padStart(10),
    depth?.padStart(6),
    seconds?.padStart(8),
    found,
  ].join('  ');
console.log(line('model', 'expected', 'result', 'states', 'depth', 'seconds', 'found'));
let wrong = 0;
for (const one of chosen) {
  const searched = await search(one);
  const right = isAsExpected(one, searched);
  if (!right) wrong++;
  const expected = one.fault === undefined ? 'holds' : 'broken';
  const { result, states, depth, seconds, found } = searched;
  const note = right ? (one.breaks ?? '') : `NOT AS EXPECTED ${found}`;
  console.log(line(nameOf(one), expected, result, `${states}`, `${depth}`, seconds.toFixed(1), note));
}
console.log(
  wrong === 0
    ? `\nAll ${chosen.length} are as expected.`
    : `\n${wrong} of ${chosen.length} are not as expected.`,
);
if (wrong > 0) process.exitCode = 1;
