/**
 * One run and its steps in the reference model: what a submission makes, and how states go on.
 * Nothing here knows limits or other runs.
 */
import type { Kind, Subject } from './limits.ts';
import { capacityOf, checkName, checkText, Refused, settings } from './refusals.ts';

export type StepDefinition = {
  after?: string[];
  pool?: string | Record<string, number>;
  tags?: Record<string, string>;
  priority?: number;
  max_attempts?: number;
  max_losses?: number;
  /** Seconds. */
  timeout?: number;
};
export type JobDefinition = { executor?: unknown; steps: Record<string, StepDefinition> };

/** A submission as a scenario writes it; its fields may be wrong. */
export type Submission = {
  submit: string;
  job?: unknown;
  tags?: unknown;
  priority?: unknown;
  deployment?: unknown;
  max_concurrent?: unknown;
};

/** `forced`: ended by a cancel with force. The last three ended without a word of the worker. */
export type AttemptEnd = 'finished' | 'failed' | 'timed out' | 'lost' | 'forced';
export type Attempt = { worker: string; started: number; end?: AttemptEnd };

export type Step = {
  name: string;
  place: number;
  definition: StepDefinition;
  state: 'pending' | 'ready' | 'running' | 'succeeded' | 'failed' | 'skipped' | 'canceled';
  attempts: Attempt[];
  subject: Subject;
};
export type Run = {
  name: string;
  job: string;
  /** Of the submission: older runs have lower ones. */
  number: number;
  priority: number;
  /** As stored: `admitted` is shown as `running` when some step has started. */
  state: 'queued' | 'admitted' | 'succeeded' | 'failed' | 'canceled';
  canceling: boolean;
  steps: Step[];
  subject: Subject;
};

/** The queued run of a submission. Throws Refused. */
export function newRun(
  submission: Submission,
  place: number,
  jobs: Record<string, JobDefinition>,
  deployments: Record<string, Kind>,
): Run {
  const { submit: name, tags, priority = 0, max_concurrent } = submission;
  const job = known(submission.job, jobs, 'job');
  const deployment = known(submission.deployment ?? 'default', deployments, 'deployment');
  checkPriority(priority, 'priority');
  checkTags(tags, 'tags');
  const own = max_concurrent === -1 ? -1 : capacityOf(max_concurrent, 'max_concurrent', false);

  const common = { deployment, deployment_kind: deployments[deployment] as string, job, run: name };
  const definitions = Object.entries(jobs[job]?.steps ?? {});
  const steps = definitions.map(([step, definition], place): Step => {
    const attributes = attributesOf({ ...common, step }, definition.tags);
    if (own !== null) attributes.set('max_concurrent', String(own));
    const subject: Subject = { counts: 'step', attributes, pools: poolsOf(definition) };
    return { name: step, place, definition, state: 'pending', attempts: [], subject };
  });
  const attributes = attributesOf(common, tags as Record<string, string> | undefined);
  const subject: Subject = { counts: 'run', attributes, pools: greediest(steps) };
  const fresh = { number: place, priority: priority as number, state: 'queued', canceling: false } as const;
  return { name, job, ...fresh, steps, subject };
}

/** Refuses a definition that no worker may register. Throws Refused. */
export function checkJob(job: string, { steps }: JobDefinition): void {
  for (const [name, step] of Object.entries(steps)) {
    const path = `jobs.${job}.steps.${name}`;
    checkPriority(step.priority ?? 0, `${path}.priority`);
    checkTags(step.tags, `${path}.tags`);
    for (const [pool, slots] of poolsOf(step)) {
      checkName(pool, `${path}.pool`);
      if (!Number.isInteger(slots) || slots < 1) throw new Refused(`${path}.pool.${pool}: at least 1`);
    }
  }
}

/** Ends the attempt that runs, and lets the run go on. */
export function endAttempt(run: Run, step: Step, end: AttemptEnd): void {
  current(step).end = end;
  if (run.canceling) step.state = 'canceled';
  else if (end === 'finished') step.state = 'succeeded';
  else step.state = mayTryAgain(step, end) ? 'ready' : 'failed';
  goOn(run);
}

/** A lost worker does not count against `max_attempts`, a failure does not against `max_losses`. */
function mayTryAgain(step: Step, end: AttemptEnd): boolean {
  const { max_attempts = 1, max_losses = 3 } = step.definition;
  const losses = step.attempts.filter((attempt) => attempt.end === 'lost').length;
  const failures = step.attempts.filter(
    (attempt) => attempt.end === 'failed' || attempt.end === 'timed out',
  ).length;
  return end === 'lost' ? losses <= max_losses : failures < max_attempts;
}

/** Makes steps ready or skipped by what is before them, and ends the run when no step is left. */
export function goOn(run: Run): void {
  const byName = new Map(run.steps.map((step) => [step.name, step]));
  let changed = run.state === 'admitted';
  while (changed) {
    changed = false;
    for (const step of run.steps.filter(({ state }) => state === 'pending')) {
      const before = (step.definition.after ?? []).map((name) => byName.get(name)?.state);
      if (before.some((state) => state === 'failed' || state === 'skipped')) step.state = 'skipped';
      else if (before.every((state) => state === 'succeeded')) step.state = 'ready';
      changed ||= step.state !== 'pending';
    }
  }
  if (run.steps.some(isLeft)) return;
  const failed = run.steps.some(({ state }) => state === 'failed');
  run.state = run.canceling ? 'canceled' : failed ? 'failed' : 'succeeded';
}

/** What does not run is canceled at once; with force, what runs too. An ended run stays what it is. */
export function cancelRun(run: Run, force: boolean): void {
  if (isEnded(run)) return;
  run.canceling = true;
  for (const step of run.steps.filter(isLeft)) {
    if (step.state === 'running' && !force) continue;
    if (step.state === 'running') current(step).end = 'forced';
    step.state = 'canceled';
  }
  goOn(run);
}

/** A step and the run that it belongs to. */
export type Located = { run: Run; step: Step };

/** The order of claims. */
export function inOrderOfClaims(a: Located, b: Located): number {
  const priority = ({ run, step }: Located) => run.priority + (step.definition.priority ?? 0);
  return (
    priority(b) - priority(a) ||
    a.run.number - b.run.number ||
    a.step.attempts.length - b.step.attempts.length ||
    a.step.place - b.step.place
  );
}

export function isEnded(run: Run): boolean {
  return run.state !== 'queued' && run.state !== 'admitted';
}

function isLeft({ state }: Step): boolean {
  return state === 'pending' || state === 'ready' || state === 'running';
}

/** The state that people see. */
export function shownState(run: Run): string {
  const started = run.steps.some(({ attempts }) => attempts.length > 0);
  return run.state === 'admitted' && started ? 'running' : run.state;
}

export function rootsOf(run: Run): Step[] {
  return run.steps.filter(({ definition }) => (definition.after ?? []).length === 0);
}

/** The last attempt of a step that has started. */
export function current(step: Step): Attempt {
  const attempt = step.attempts.at(-1);
  if (!attempt) throw new Error(`the step ${step.name} has not started`);
  return attempt;
}

function attributesOf(
  common: Record<string, string>,
  tags: Record<string, string> = {},
): Map<string, string> {
  const tagged = Object.entries(tags).map(([key, value]): [string, string] => [`tag.${key}`, value]);
  return new Map([...Object.entries(common), ...tagged]);
}

function poolsOf({ pool = {} }: StepDefinition): Map<string, number> {
  return new Map(typeof pool === 'string' ? [[pool, 1]] : Object.entries(pool));
}

function greediest(steps: Step[]): Map<string, number> {
  const most = new Map<string, number>();
  for (const [pool, slots] of steps.flatMap(({ subject }) => [...subject.pools])) {
    most.set(pool, Math.max(slots, most.get(pool) ?? 0));
  }
  return most;
}

function known(name: unknown, all: Record<string, unknown>, field: string): string {
  if (typeof name === 'string' && Object.hasOwn(all, name)) return name;
  throw new Refused(`${field}: there is no such ${field}`);
}

function checkPriority(priority: unknown, path: string): void {
  if (Number.isInteger(priority) && (priority as number) === ((priority as number) | 0)) return;
  throw new Refused(`${path}: a 32-bit integer`);
}

function checkTags(tags: unknown, path: string): void {
  for (const [key, value] of Object.entries(settings(tags, path))) {
    checkName(key, `${path}.${key}`);
    checkText(value, `${path}.${key}`);
  }
}
