/** All mutants. */

import { onceFound } from './found.ts';
import { ofLanes } from './lanes.ts';
import { ofLimits } from './limits.ts';
import type { Mutant } from './mutant.ts';
import { ofSteps } from './steps.ts';
import { ofWork } from './work.ts';
import { inTheWorker } from './worker.ts';

export const mutants: readonly Mutant[] = [
  ...ofLimits,
  ...ofLanes,
  ...ofSteps,
  ...ofWork,
  ...inTheWorker,
  ...onceFound,
];
