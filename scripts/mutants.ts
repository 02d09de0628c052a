/**
 * `npm run mutants -- [NAME…] [--likely] [--json FILE]`: seeds faults, one at a time, and prints for each the first test
 * that failed. Exit 1 if one of them is noticed by no test.
 */

import { writeFileSync } from 'node:fs';
import { parseArgs } from 'node:util';
import { mutants } from '../test/mutants/list.ts';
import { said, type Tried, tryAll } from '../test/mutants/runner.ts';
import { postgresForTools } from '../test/support/server.ts';

const { values, positionals } = parseArgs({
  options: { json: { type: 'string' }, likely: { type: 'boolean', default: false } },
  allowPositionals: true,
});
const chosen = positionals.length === 0 ? mutants : mutants.filter(({ name }) => positionals.includes(name));
const unknown = positionals.filter((each) => !mutants.some(({ name }) => name === each));
if (unknown.length > 0) {
  console.error(
    `There is no mutant ${unknown.join(', ')}. There are: ${mutants.map(({ name }) => name).join(', ')}.`,
  );
  process.exit(2);
}

const print = ({ mutant, outcome, seconds }: Tried) =>
  console.log(`${mutant.name}  ${mutant.file}  ${seconds.toFixed(1)} s\n    ${said(outcome)}`);
const stop = new AbortController();
for (const name of ['SIGINT', 'SIGTERM'] as const)
  process.once(name, () => stop.abort(new Error('interrupted')));
const server = await postgresForTools();
try {
  console.log(`${chosen.length} mutants; first all is run without any.`);
  const tried = await tryAll(chosen, {
    databaseUrl: server.url,
    atOnce: 2,
    likelyOnly: values.likely,
    signal: stop.signal,
    onTried: print,
  });
  const alive = tried.filter(({ outcome }) => outcome.kind !== 'killed');
  if (values.json) writeFileSync(values.json, `${JSON.stringify(tried, null, 2)}\n`);
  console.log(`\n${tried.length - alive.length} killed, ${alive.length} not killed`);
  for (const { mutant } of alive) console.log(`  ${mutant.name}: ${mutant.harm}`);
  if (alive.length > 0) process.exitCode = 1;
} catch (error) {
  console.error((error as Error).message);
  process.exitCode = 1;
} finally {
  await server.close();
}
