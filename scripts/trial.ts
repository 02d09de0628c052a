/**
 * `npm run trial`: the promises on a real database, under load. 1: five processes, every mechanism, one is killed;
 * 2: runs a second; 3: how soon a free run starts behind 100,000 that sleep. Exit 1 if anything is wrong.
 * Options: `--only 1` (or 2, 3), `--break-limit` (the SQL grants one too many: part 1 must notice and exit 1),
 * `--profile` (which functions of Postgres took the time).
 */

import { parseArgs } from 'node:util';
import { breakLimit } from './trial/break-limit.ts';
import { latency } from './trial/latency.ts';
import { mechanisms } from './trial/mechanisms.ts';
import { type Place, withPlaces } from './trial/place.ts';
import { throughput } from './trial/throughput.ts';

type Part = { title: string; run: (place: Place) => Promise<string[]> };

const parts: Record<string, Part> = {
  1: { title: 'Every mechanism: 2,000 runs, five processes, one worker killed half-way', run: mechanisms },
  2: { title: 'Speed: 10,000 runs of one empty step under three limits, one process', run: throughput },
  3: { title: 'Wait: a free run behind 100,000 that sleep at a full limit', run: latency },
};

/** Most lines of what is wrong, for each part. */
const shown = 30;

async function main(): Promise<number> {
  const { values } = parseArgs({
    options: {
      only: { type: 'string', multiple: true },
      'break-limit': { type: 'boolean', default: false },
      profile: { type: 'boolean', default: false },
    },
  });
  const broken = values['break-limit'];
  const wanted = values.only ?? (broken ? ['1'] : Object.keys(parts));
  const unknown = wanted.find((name) => !(name in parts));
  if (unknown !== undefined) throw new Error(`--only ${unknown}: there are the parts 1, 2 and 3.`);
  const prepare = broken ? breakLimit : async () => {};
  const wrong = await withPlaces({ prepare, profile: values.profile }, async (inPlace) => {
    const all: string[] = [];
    for (const name of wanted) {
      const { title, run } = parts[name] as Part;
      console.log(`\n${name}. ${title}`);
      const found = await inPlace(run);
      for (const line of found.slice(0, shown)) console.log(`  WRONG: ${line}`);
      if (found.length > shown) console.log(`  WRONG: and ${found.length - shown} more`);
      all.push(...found);
    }
    return all;
  });
  console.log(wrong.length > 0 ? `\n${wrong.length} wrong` : '\nAll as promised.');
  return wrong.length > 0 ? 1 : 0;
}

process.exitCode = await main();
