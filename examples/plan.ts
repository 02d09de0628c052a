/** What is submitted: every file in `default`, some of them again by the branches and by night. */

import { statSync } from 'node:fs';
import { join } from 'node:path';
import { type DataFile, dataFiles, type Family, folder } from './data.ts';

export const deployments: Record<string, 'full' | 'branch'> = {
  default: 'full',
  nightly: 'full',
  'pr-1': 'branch',
  'pr-2': 'branch',
};

export type PlannedRun = {
  job: Family;
  file: string;
  deployment: string;
  tags: Record<string, string>;
  priority: number;
  maxConcurrent?: number;
};

const bigBytes = 1_000_000;

const ofBranches = /^(cars|stocks|flights-2k|volcano|miserables|world-110m|penguins|weather|barley)\./;
const ofNight = /^(airports|sp500|movies)\./;
/** Its run says itself how many of its steps may run at once. */
const oneAtATime = /^movies\./;

export function plannedRuns(): PlannedRun[] {
  const files = dataFiles();
  return [
    ...files.map((file) => planned(file, 'default')),
    ...files
      .filter(({ name }) => ofBranches.test(name))
      .flatMap((file) => [planned(file, 'pr-1'), planned(file, 'pr-2')]),
    ...files.filter(({ name }) => ofNight.test(name)).map((file) => planned(file, 'nightly')),
  ];
}

function planned({ name, family }: DataFile, deployment: string): PlannedRun {
  const big = statSync(join(folder, name)).size > bigBytes;
  return {
    job: family,
    file: name,
    deployment,
    tags: { family, ...(big ? { size: 'big' } : {}) },
    // The flights take longest, so they go first.
    priority: family === 'flights' ? 1 : 0,
    ...(oneAtATime.test(name) ? { maxConcurrent: 1 } : {}),
  };
}
