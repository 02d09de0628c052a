/** From a command, which counts, to an action, which names: what its numbers mean at this moment of the model. */
import { Chance } from '../model/chance.ts';
import { limitsOf } from '../model/config.ts';
import type { Model } from '../model/model.ts';
import { type Attempt, current, isEnded, type Located, type Submission } from '../model/run.ts';
import { type Config, changedConfig } from '../model/settings.ts';
import type { World } from '../model/world.ts';
import { brokenConfig, brokenField } from '../model/wrong.ts';
import type { Action } from './actions.ts';
import type { Command, Wish } from './commands.ts';

/** Enough to fill every queue; a look at the database costs the more the more there is. */
const mostRuns = 20;

/** Where a command is said. */
export type Here = {
  world: World;
  model: Model;
  config: Config;
  /** Runs that were submitted with their name as key. */
  keyed: Map<string, Submission>;
  /** How many names of runs were given. */
  named: number;
  /** Something is in the queue lockkeeper.submit. */
  sent: boolean;
};

type Of<D extends Command['do']> = Extract<Command, { do: D }>;

const pick = <T>(list: readonly T[], n: number): T | undefined => list[n % (list.length || 1)];

/** Undefined: there is nothing that it could be done to. */
export function resolve(command: Command, here: Here): Action | undefined {
  switch (command.do) {
    case 'submit':
    case 'submit wrongly':
    case 'submit again':
    case 'send':
      return submission(command, here);
    case 'end':
    case 'end late':
    case 'end again':
      return ending(command, here);
    case 'apply':
    case 'apply wrongly':
    case 'override':
    case 'unset override':
    case 'pause':
    case 'resume':
      return change(command, here);
    case 'crash':
    case 'stop':
    case 'start':
    case 'claim again':
      return ofWorker(command, here);
    case 'advance':
      return { do: 'advance', seconds: pick([600, 601, 900, 1200, 1500, 3600], command.seconds) ?? 600 };
    case 'cancel':
    case 'set priority':
    case 'cancel ticket':
    case 'delete ticket':
    case 'fetch ticket':
      return ofRun(command, here);
    default:
      return command;
  }
}

function submission(
  command: Of<'submit' | 'submit wrongly' | 'submit again' | 'send'>,
  here: Here,
): Action | undefined {
  const { world, model, keyed, sent } = here;
  if (command.do === 'submit again') {
    const run = pick([...keyed.values()], command.run);
    return run && { do: 'submit', runs: [run], keyed: true, again: true };
  }
  if (model.runs.length >= mostRuns) return undefined;
  if (command.do === 'send') {
    const run = submissionOf(command.run, here);
    if (sent) return undefined;
    return command.wrong
      ? { do: 'send', run: { ...run, job: 'nothing' }, rejected: 'job' }
      : { do: 'send', run };
  }
  const runs = command.runs.map((wish) => submissionOf(wish, here));
  if (command.do === 'submit') return { do: 'submit', runs, keyed: command.runs[0]?.keyed ?? false };
  const { rejected, ...fields } = brokenField(new Chance(command.wrong), world);
  const plain = { job: 0, tags: 0, priority: 0, deployment: 0, max_concurrent: 0, keyed: false };
  return {
    do: 'submit',
    runs: [...runs, { ...submissionOf(plain, here), ...fields }],
    keyed: false,
    rejected,
  };
}

function submissionOf(wish: Wish, here: Here): Submission {
  const { world, model } = here;
  here.named += 1;
  const { preset, deployments } = world;
  const tags = Object.entries(world.tags).flatMap(([key, values], place) => {
    const value = Math.floor(wish.tags / 4 ** place) % 4;
    return preset.runTags && value > 0 ? [[key, pick(values, value - 1)]] : [];
  });
  const priority = pick([0, 1, -1, 2, 4, -2, 2147483647], wish.priority);
  const deployment = pick(Object.keys(deployments), wish.deployment);
  return {
    submit: `r${here.named}`,
    job: pick(Object.keys(model.setting.jobs), wish.job),
    ...(tags.length > 0 ? { tags: Object.fromEntries(tags) } : {}),
    ...(priority ? { priority } : {}),
    ...(deployment === 'default' ? {} : { deployment }),
    ...(preset.executor && wish.max_concurrent > 0 ? { max_concurrent: wish.max_concurrent } : {}),
  };
}

function ending(command: Of<'end' | 'end late' | 'end again'>, { model }: Here): Action | undefined {
  if (command.do === 'end') return endingOfRunning(command, model);
  const byWord = ({ end }: Attempt) => end === 'finished' || end === 'failed';
  const wanted = (attempt: Attempt) =>
    attempt.end !== undefined && byWord(attempt) === (command.do === 'end again');
  const ended = model.steps().flatMap(({ step }) =>
    step.attempts.flatMap((attempt, place) => {
      if (!wanted(attempt)) return [];
      return [{ step: step.id, worker: attempt.worker, attempt: place + 1, end: attempt.end }];
    }),
  );
  const found = pick(ended, command.step);
  if (!found) return undefined;
  const { step, worker, attempt, end } = found;
  const fails = end === 'failed' || (end !== 'finished' && command.fails);
  const late = command.do === 'end again' ? 'over' : 'refused';
  return { do: 'end', worker, endings: [{ step, attempt, fails }], late };
}

/** All of one worker, in one call. FORMAT.md leaves open what a crashed worker says of what is still its own. */
function endingOfRunning({ steps }: Of<'end'>, model: Model): Action | undefined {
  const lives = ({ step }: Located) => !model.workers.get(current(step).worker)?.crashed;
  const running = model.steps().filter((located) => located.step.state === 'running' && lives(located));
  const first = pick(running, steps[0]?.step ?? 0);
  if (!first) return undefined;
  const { worker } = current(first.step);
  const own = running.filter(({ step }) => current(step).worker === worker);
  const chosen = new Map([[first, steps[0]?.fails ?? false]]);
  for (const { step, fails } of steps.slice(1)) {
    const next = pick(own, step);
    if (next && !chosen.has(next)) chosen.set(next, fails);
  }
  const endings = [...chosen].map(([{ step }, fails]) => {
    return { step: step.id, attempt: step.attempts.length, fails };
  });
  return { do: 'end', worker, endings };
}

function change(
  command: Of<'apply' | 'apply wrongly' | 'override' | 'unset override' | 'pause' | 'resume'>,
  { world, model, config }: Here,
): Action | undefined {
  if (command.do === 'apply')
    return { do: 'apply', config: changedConfig(new Chance(command.seed), world, config) };
  if (command.do === 'apply wrongly') {
    const { apply, rejected } = brokenConfig(new Chance(command.seed), world, config);
    return { do: 'apply', config: apply, rejected };
  }
  if (command.do === 'pause' || command.do === 'resume') {
    const match = pick(pauses(world, model), command.what) ?? {};
    if (command.do === 'resume') return { do: 'resume', match };
    const counts = pick<('run' | 'step')[]>([['run', 'step'], ['run'], ['step']], command.counts) ?? [];
    return { do: 'pause', match, counts };
  }
  // What is unlimited may be no limit at all.
  const limits = limitsOf(config, world.deployments).filter(({ capacity }) => typeof capacity === 'number');
  const limit = pick(limits, command.limit)?.name;
  if (limit === undefined) return undefined;
  return command.do === 'override'
    ? { do: 'override', limit, capacity: command.capacity }
    : { do: 'unset override', limit };
}

/** What can be paused, few, so that a resume often meets one. */
function pauses({ deployments, pools }: World, { setting }: Model): Record<string, string>[] {
  const [pool] = pools;
  return [
    {},
    ...Object.keys(setting.jobs)
      .slice(0, 2)
      .map((job) => ({ job })),
    ...Object.keys(deployments)
      .slice(0, 2)
      .map((deployment) => ({ deployment })),
    ...(pool === undefined ? [] : [{ pool }]),
  ];
}

function ofWorker(
  command: Of<'crash' | 'stop' | 'start' | 'claim again'>,
  { model }: Here,
): Action | undefined {
  if (command.do === 'start') {
    const jobs = Object.keys(model.setting.jobs);
    const room = pick([100, 1, 2, 4], command.worker) ?? 1;
    return { do: 'start', worker: `w${model.workers.size + 1}`, room, jobs };
  }
  const live = [...model.workers].filter(([, { crashed }]) => !crashed).map(([name]) => name);
  const worker = pick(live, command.worker);
  if (worker === undefined) return undefined;
  return command.do === 'claim again'
    ? { do: 'claim again', worker, older: command.older }
    : { do: command.do, worker };
}

function ofRun(
  command: Of<'cancel' | 'set priority' | 'cancel ticket' | 'delete ticket' | 'fetch ticket'>,
  { model }: Here,
): Action | undefined {
  if (command.do === 'cancel') {
    // Mostly of those that live.
    const live = model.runs.filter((run) => !isEnded(run));
    const chosen = command.runs.map((n) => pick(n < 85 ? live : model.runs, n)?.name);
    const runs = [...new Set(chosen)].filter((name) => name !== undefined);
    return runs.length > 0 ? { do: 'cancel', runs, force: command.force } : undefined;
  }
  const queued = model.runs.filter(({ state }) => state === 'queued');
  const run = pick(queued, command.run)?.name;
  if (run === undefined) return undefined;
  if (command.do !== 'set priority') return { do: command.do, run };
  return { do: 'set priority', run, priority: pick([0, 1, -1, 2, 4, -2, 3], command.priority) ?? 0 };
}
