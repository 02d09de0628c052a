/**
 * The reference model: what FORMAT.md promises, by brute force over everything, with no database and no time.
 * Each event of a scenario is one method; `snapshot` answers all that `expect` can ask.
 * It counts again from nothing whenever it wants a number, so no number in it can drift.
 */
import { limitsOf, limitsOfJob } from './config.ts';
import { type Key, type Kind, keysOf, type Limit, type Subject } from './limits.ts';
import { Refused } from './refusals.ts';
import * as r from './run.ts';

/** What a model is made from: the first part of a scenario file. */
export type Setting = {
  config?: unknown;
  deployments?: Record<string, Kind>;
  /** Name → room for steps, and the jobs that it knows (left out: every job). */
  workers?: Record<string, number | { room: number; jobs?: string[] }>;
  jobs: Record<string, r.JobDefinition>;
};

/** All that `expect` can ask. `in_use` has every key that some subject has under the limits of now. */
export type Snapshot = {
  runs: Record<string, string>;
  steps: Record<string, string>;
  /** For each queued run and each ready step; sorted. */
  waiting: Record<string, string[]>;
  in_use: Record<string, number>;
  order: string[];
};

/** `leaseEnded`: by time; what it held is released by the next settle. */
export type Worker = { room: number; jobs: string[] | undefined; crashed: boolean; leaseEnded: boolean };

/** Who reports, when it is not simply the worker that runs the step. */
export type From = { worker: string; attempt: number };

const mostKeys = 64;

export class Model {
  readonly runs: r.Run[] = [];
  readonly workers: Map<string, Worker>;
  readonly setting: Setting;
  private readonly deployments: Record<string, Kind>;
  private limits: Limit[];
  private known = new Map<Subject, Key[]>();
  private order: string[] = [];
  private now = 0;

  /** Throws Refused. */
  constructor(setting: Setting) {
    this.setting = setting;
    this.deployments = setting.deployments ?? { default: 'full' };
    for (const [name, job] of Object.entries(setting.jobs)) r.checkJob(name, job);
    this.limits = this.limitsUnder(setting.config);
    const workers = Object.entries(setting.workers ?? { w1: 1000 }).map(([name, given]): [string, Worker] => {
      const { room, jobs } = typeof given === 'number' ? { room: given } : given;
      return [name, { room, jobs, crashed: false, leaseEnded: false }];
    });
    this.workers = new Map(workers);
  }

  /** Throws Refused, and then changes nothing. */
  submit(submission: r.Submission): void {
    const run = r.newRun(submission, this.runs.length, this.setting.jobs, this.deployments);
    checkNumberOfKeys(run, this.limits);
    this.runs.push(run);
  }

  settle(): void {
    while ([this.timeOut(), this.reap(), this.admit(), this.claim()].includes(true));
  }

  /** True: accepted. */
  finish(step: string, from?: From): boolean {
    return this.report(step, 'finished', from);
  }

  /** True: accepted. */
  fail(step: string, from?: From): boolean {
    return this.report(step, 'failed', from);
  }

  cancel(name: string, force = false): void {
    r.cancelRun(this.run(name), force);
  }

  /** Throws Refused, and then changes nothing. */
  apply(config: unknown): void {
    const limits = this.limitsUnder(config);
    for (const run of this.runs) if (!r.isEnded(run)) checkNumberOfKeys(run, limits);
    this.limits = limits;
    this.known = new Map();
  }

  crash(name: string): void {
    const worker = this.workers.get(name);
    if (!worker) throw new Error(`there is no worker ${name}`);
    worker.crashed = true;
  }

  /** At least 600 seconds, and so past every lease that nobody renews. */
  advance(seconds: number): void {
    this.now += seconds;
    for (const worker of this.workers.values()) if (worker.crashed) worker.leaseEnded = true;
  }

  /** Everything that the model knows is in the database. */
  restart(): void {}

  snapshot(): Snapshot {
    const steps = this.steps();
    const used = this.used();
    const subjects = [...this.runs, ...steps.map(({ step }) => step)].map(({ subject }) => subject);
    const names = subjects.flatMap((subject) => this.keys(subject).map(({ name }) => name));
    const queued = this.runs.filter(({ state }) => state === 'queued');
    const waiting = [
      ...queued.map((run): [string, string[]] => [run.name, this.waitingOfRun(run)]),
      ...this.ready().map(({ run, step }): [string, string[]] => [
        idOf(run, step),
        this.waitingOfStep(run, step),
      ]),
    ];
    return {
      runs: Object.fromEntries(this.runs.map((run) => [run.name, r.shownState(run)])),
      steps: Object.fromEntries(steps.map(({ run, step }) => [idOf(run, step), step.state])),
      waiting: Object.fromEntries(waiting.map(([name, keys]) => [name, keys.sort()])),
      in_use: Object.fromEntries([...new Set(names)].sort().map((name) => [name, used.get(name) ?? 0])),
      order: [...this.order],
    };
  }

  /** All steps, of all runs, in the order of submission and place. */
  steps(): r.Located[] {
    return this.runs.flatMap((run) => run.steps.map((step) => ({ run, step })));
  }

  private limitsUnder(config: unknown): Limit[] {
    const own = Object.entries(this.setting.jobs).flatMap(([name, { executor }]) =>
      limitsOfJob(name, executor),
    );
    return [...limitsOf(config, this.deployments), ...own];
  }

  private run(name: string): r.Run {
    const run = this.runs.find((run) => run.name === name);
    if (!run) throw new Error(`there is no run ${name}`);
    return run;
  }

  private report(id: string, end: r.AttemptEnd, from?: From): boolean {
    const dot = id.indexOf('.');
    const run = this.run(id.slice(0, dot));
    const step = run.steps.find(({ name }) => name === id.slice(dot + 1));
    if (!step) throw new Error(`there is no step ${id}`);
    if (step.state !== 'running') return false;
    const { worker } = r.current(step);
    if (from && (from.attempt !== step.attempts.length || from.worker !== worker)) return false;
    r.endAttempt(run, step, end);
    return true;
  }

  private timeOut(): boolean {
    const late = this.running().filter(({ step }) => {
      const { timeout } = step.definition;
      return timeout !== undefined && this.now - r.current(step).started > timeout;
    });
    for (const { run, step } of late) r.endAttempt(run, step, 'timed out');
    return late.length > 0;
  }

  private reap(): boolean {
    const lost = this.running().filter(({ step }) => this.workers.get(r.current(step).worker)?.leaseEnded);
    for (const { run, step } of lost) r.endAttempt(run, step, 'lost');
    return lost.length > 0;
  }

  /** A run is admitted when it waits for nothing; its root steps are then ready, which the next run sees. */
  private admit(): boolean {
    const queued = this.runs.filter(({ state }) => state === 'queued');
    queued.sort((a, b) => b.priority - a.priority || a.number - b.number);
    const before = this.order.length;
    for (const run of queued) {
      if (this.waitingOfRun(run).length > 0) continue;
      run.state = 'admitted';
      this.order.push(run.name);
      r.goOn(run);
    }
    return this.order.length > before;
  }

  private claim(): boolean {
    let claimed = false;
    for (const [name, worker] of this.workers) {
      if (worker.crashed) continue;
      for (const { run, step } of this.ready()) {
        if (!knows(worker, run) || this.roomOf(name) < 1 || this.fullFor(step.subject).length > 0) continue;
        step.state = 'running';
        step.attempts.push({ worker: name, started: this.now });
        claimed = true;
      }
    }
    return claimed;
  }

  /** Everything that keeps a queued run from being admitted. */
  private waitingOfRun(run: r.Run): string[] {
    const served = [...this.workers.values()].some((worker) => !worker.leaseEnded && knows(worker, run));
    const full = new Set([...this.fullFor(run.subject), ...this.fullAhead(run)]);
    return [...full, ...(served ? [] : ['workers'])];
  }

  private waitingOfStep(run: r.Run, step: r.Step): string[] {
    const full = this.fullFor(step.subject);
    const served = [...this.workers].some(([name, worker]) => {
      return !worker.leaseEnded && knows(worker, run) && this.roomOf(name) > 0;
    });
    return full.length > 0 || served ? full : ['workers'];
  }

  private fullFor(subject: Subject): string[] {
    const used = this.used();
    const full = this.keys(subject).filter(
      ({ name, amount, capacity }) => (used.get(name) ?? 0) + amount > capacity,
    );
    return full.map(({ name }) => name);
  }

  /** The full keys of the root steps at which admission looks; none when some root step has room at all of its own. */
  private fullAhead(run: r.Run): string[] {
    const used = this.used();
    const asked = this.sum(this.ready().map(({ step }) => step.subject));
    const isFull = ({ name, amount, capacity, look_buffer: buffer }: Key) =>
      buffer !== null && (used.get(name) ?? 0) + (asked.get(name) ?? 0) + amount > capacity + buffer;
    const roots = r.rootsOf(run).map(({ subject }) => this.keys(subject).filter(isFull));
    return roots.some((full) => full.length === 0) ? [] : roots.flat().map(({ name }) => name);
  }

  /** Slots of each key: of all live runs and all running steps, counted anew. */
  private used(): Map<string, number> {
    const live = this.runs.filter(({ state }) => state === 'admitted').map(({ subject }) => subject);
    return this.sum([...live, ...this.running().map(({ step }) => step.subject)]);
  }

  private sum(subjects: Subject[]): Map<string, number> {
    const sums = new Map<string, number>();
    for (const { name, amount } of subjects.flatMap((subject) => this.keys(subject))) {
      sums.set(name, (sums.get(name) ?? 0) + amount);
    }
    return sums;
  }

  /** A subject never changes, so its keys are looked up once under one configuration. */
  private keys(subject: Subject): Key[] {
    const keys = this.known.get(subject) ?? keysOf(this.limits, subject);
    this.known.set(subject, keys);
    return keys;
  }

  private running(): r.Located[] {
    return this.steps().filter(({ step }) => step.state === 'running');
  }

  /** In the order of claims. */
  private ready(): r.Located[] {
    const ready = this.steps().filter(({ step }) => step.state === 'ready');
    return ready.sort(r.inOrderOfClaims);
  }

  private roomOf(worker: string): number {
    const taken = this.running().filter(({ step }) => r.current(step).worker === worker).length;
    return (this.workers.get(worker)?.room ?? 0) - taken;
  }
}

/** The name of a step in a scenario. */
export function idOf(run: r.Run, step: r.Step): string {
  return `${run.name}.${step.name}`;
}

/** Whether the worker has registered the run's job. */
export function knows({ jobs }: Worker, run: r.Run): boolean {
  return jobs === undefined || jobs.includes(run.job);
}

/** What a run takes and what its root steps look at count together. */
function checkNumberOfKeys(run: r.Run, limits: Limit[]): void {
  const keys = (subject: Subject) => keysOf(limits, subject);
  const looked = r
    .rootsOf(run)
    .flatMap((step) => keys(step.subject).filter((key) => key.look_buffer !== null));
  const ofRun = [...keys(run.subject), ...looked].map(({ name }) => name);
  const counts = [new Set(ofRun).size, ...run.steps.map((step) => keys(step.subject).length)];
  if (counts.some((count) => count > mostKeys)) throw new Refused(`limits: more than ${mostKeys} keys`);
}
