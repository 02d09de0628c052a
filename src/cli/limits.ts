/** `limits`: what may run at once, from a file and while things run. */

import type { Command } from 'commander';
import type { Io } from './io.ts';
import { addList } from './limits/list.ts';
import { addOverrides } from './limits/override.ts';
import { addOwn } from './limits/own.ts';
import { addApply, addPlan } from './limits/plan.ts';

export function addLimits(program: Command, io: Io): void {
  const limits = program
    .command('limits')
    .description('list, plan and apply the limits; override, pause and add them while things run');
  addList(limits, io);
  addPlan(limits, io);
  addApply(limits, io);
  addOverrides(limits, io);
  addOwn(limits, io);
}
