/** The shape of a scenario file; shared/scenarios/FORMAT.md says what it means. */

export type ScenarioEvent = {
  submit?: string;
  job?: string;
  tags?: unknown;
  priority?: unknown;
  deployment?: unknown;
  max_concurrent?: unknown;
  settle?: boolean;
  finish?: string;
  fail?: string;
  worker?: string;
  attempt?: number;
  refused?: boolean;
  cancel?: string;
  force?: boolean;
  apply?: unknown;
  rejected?: string;
  crash?: string;
  advance?: number;
  restart?: boolean;
  expect?: Expectation;
};

export type Expectation = {
  runs?: Record<string, string>;
  steps?: Record<string, string>;
  waiting?: Record<string, string[]>;
  in_use?: Record<string, number>;
  order?: string[];
};

export type ScenarioFile = {
  name: string;
  config?: unknown;
  deployments?: Record<string, 'full' | 'branch'>;
  workers?: Record<string, number | { room?: number; jobs?: string[] }>;
  jobs: Record<string, { steps: Record<string, unknown>; executor?: unknown }>;
  events: ScenarioEvent[];
};
