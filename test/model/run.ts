/**
 * Runs and their steps: what a submission makes, and how states go on. Nothing here knows limits or other runs.
 */
import type { JobDefinition, Kind, StepDefinition, Submission } from './format.ts';
import { checkSubmission } from './refusals.ts';

export type { JobDefinition, StepDefinition, Submission } from './format.ts';

/** `forced`: ended by a cancel with force. The last three ended without a word of the worker. */
export type AttemptEnd = 'finished' | 'failed' | 'timed out' | 'lost' | 'forced';
export type Attempt = { worker: string; started: number; end?: AttemptEnd };

const left = ['queued', 'admitted', 'pending', 'ready', 'running'] as const;
export type State = (typeof left)[number] | 'succeeded' | 'failed' | 'skipped' | 'canceled';

/** A run or a step: limits, order and waiting are the same for both. */
export type Subject = {
  id: string;
  name: string;
  counts: 'run' | 'step';
  /** Of the run's submission. */
  number: number;
  /** In the job; a run's is 0. */
  place: number;
  priority: number;
  definition: StepDefinition;
  attributes: Record<string, string>;
  /** Slots asked of each pool. */
  pools: Map<string, number>;
  /** Of a run, the first two, or how it ended; it is shown as `running` once a step of it has started. */
  state: State;
  attempts: Attempt[];
};
export type Step = Subject & { before: Step[] };
export type Run = Subject & { steps: Step[]; canceling: boolean };
export type Located = { run: Run; step: Step };

/** The queued run of a submission. Throws Refused. */
export function newRun(
  submission: Submission,
  number: number,
  jobs: Record<string, JobDefinition>,
  deployments: Record<string, Kind>,
): Run {
  const { name, job, deployment, tags, priority, own } = checkSubmission(submission, jobs, deployments);
  const common = { deployment, deployment_kind: deployments[deployment] ?? '', job, run: name };
  const steps = Object.entries(jobs[job]?.steps ?? {}).map(([step, definition], place): Step => {
    const attributes = { ...common, step, ...tagged(definition.tags), ...own };
    const sum = priority + (definition.priority ?? 0);
    const shared = { number, place: place + 1, priority: sum, definition, attributes, attempts: [] };
    const pools = poolsOf(definition);
    return {
      id: `${name}.${step}`,
      name: step,
      counts: 'step',
      state: 'pending',
      pools,
      before: [],
      ...shared,
    };
  });
  for (const { before, definition } of steps)
    before.push(...steps.filter(({ name }) => definition.after?.includes(name)));
  // The greediest step's amount comes last, and stays.
  const pools = new Map(steps.flatMap(({ pools }) => [...pools]).sort(([, a], [, b]) => a - b));
  const attributes = { ...common, ...tagged(tags) };
  const shared = { number, place: 0, priority, definition: {}, attributes, attempts: [] };
  return { id: name, name, counts: 'run', state: 'queued', pools, steps, canceling: false, ...shared };
}

const tagged = (tags: Record<string, string> = {}): Record<string, string> =>
  Object.fromEntries(Object.entries(tags).map(([key, value]) => [`tag.${key}`, value]));

function poolsOf({ pool = {} }: StepDefinition): Map<string, number> {
  return new Map(typeof pool === 'string' ? [[pool, 1]] : Object.entries(pool));
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
function mayTryAgain({ definition, attempts }: Step, end: AttemptEnd): boolean {
  const losses = attempts.filter((attempt) => attempt.end === 'lost').length;
  if (end === 'lost') return losses <= (definition.max_losses ?? 3);
  return attempts.length - losses < (definition.max_attempts ?? 1);
}

/** Makes steps ready or skipped by what is before them, and ends the run when no step is left. */
export function goOn(run: Run): void {
  for (const _ of run.state === 'admitted' ? run.steps : [])
    for (const step of run.steps) if (step.state === 'pending') step.state = stateAfter(step.before);
  if (run.steps.some(isLeft)) return;
  const failed = run.steps.some(({ state }) => state === 'failed');
  run.state = run.canceling ? 'canceled' : failed ? 'failed' : 'succeeded';
}

function stateAfter(before: Step[]): Step['state'] {
  if (before.some(({ state }) => state === 'failed' || state === 'skipped')) return 'skipped';
  return before.every(({ state }) => state === 'succeeded') ? 'ready' : 'pending';
}

/** What does not run is canceled at once; with force, what runs too. An ended run stays what it is. */
export function cancelRun(run: Run, force: boolean): void {
  if (isEnded(run)) return;
  run.canceling = true;
  for (const step of run.steps.filter((step) => isLeft(step) && (force || step.state !== 'running'))) {
    if (step.state === 'running') current(step).end = 'forced';
    step.state = 'canceled';
  }
  goOn(run);
}

const isLeft = ({ state }: Subject): boolean => left.some((other) => other === state);

export const isEnded = (run: Run): boolean => !isLeft(run);

export const rootsOf = ({ steps }: Run): Step[] => steps.filter(({ before }) => before.length === 0);

/** The state that people see. */
export function shownState({ state, steps }: Run): string {
  return state === 'admitted' && steps.some(({ attempts }) => attempts.length > 0) ? 'running' : state;
}

/** The order of admission and of claims. */
export function inOrder(a: Subject, b: Subject): number {
  const attempts = a.attempts.length - b.attempts.length;
  return b.priority - a.priority || a.number - b.number || attempts || a.place - b.place;
}

/** The last attempt of a step that has started. */
export function current({ id, attempts }: Step): Attempt {
  const attempt = attempts.at(-1);
  if (!attempt) throw new Error(`the step ${id} has not started`);
  return attempt;
}
