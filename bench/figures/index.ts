/** All figures, in the order in which they are measured and shown. Each is loaded only when it is asked for. */

import type { Bench } from '../types.ts';

export const figures: Readonly<Record<string, () => Promise<Bench>>> = {
  floors: () => import('./floors.ts').then(({ floors }) => floors),
  exact: () => import('./exact.ts').then(({ exact }) => exact),
  use: () => import('./use.ts').then(({ use }) => use),
  handover: () => import('./handover.ts').then(({ handover }) => handover),
  start: () => import('./start.ts').then(({ start }) => start),
  runs: () => import('./runs.ts').then(({ runs }) => runs),
  admit: () => import('./admit.ts').then(({ admit }) => admit),
  steps: () => import('./steps.ts').then(({ steps }) => steps),
  submit: () => import('./submit.ts').then(({ submit }) => submit),
  tenants: () => import('./tenants.ts').then(({ tenants }) => tenants),
  fleet: () => import('./fleet.ts').then(({ fleet }) => fleet),
  cost: () => import('./cost.ts').then(({ cost }) => cost),
  backlog: () => import('./backlog.ts').then(({ backlog }) => backlog),
  apply: () => import('./apply.ts').then(({ apply }) => apply),
  horizon: () => import('./horizon.ts').then(({ horizon }) => horizon),
};
