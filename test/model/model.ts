/**
 * The reference model: what FORMAT.md promises, by brute force over everything, with no database and no time.
 * Each event of a scenario is one method; `snapshot` answers all that `expect` can ask.
 * It counts again from nothing whenever it wants a number, so no number in it can drift.
 */
import { builtIn, limitsOf, limitsOfJob, pauseLimits, pauseName } from './config.ts';
import type { Kind, Setting, Snapshot, Submission } from './format.ts';
import { type Key, keysOf, type Limit } from './limits.ts';
import { Refused } from './refusals.ts';
import * as r from './run.ts';

export type { Setting, Snapshot } from './format.ts';

/** `leaseEnded`: by time; what it held is released by the next settle. */
export type Worker = { room: number; jobs: string[] | undefined; crashed: boolean; leaseEnded: boolean };

/** Who reports, when it is not simply the worker that runs the step. */
export type From = { worker: string; attempt: number };

export class Model {
  readonly runs: r.Run[] = [];
  readonly workers = new Map<string, Worker>();
  readonly setting: Setting;
  private readonly deployments: Record<string, Kind>;
  private limits: Limit[];
  private order: string[] = [];
  private now = 0;
  /** A subject never changes, so its keys are looked up once under the same limits. */
  private known = new Map<r.Subject, Key[]>();

  /** Throws Refused. */
  constructor(setting: Setting) {
    this.setting = setting;
    this.deployments = setting.deployments ?? { default: 'full' };
    const own = Object.entries(setting.jobs).flatMap(([name, job]) => limitsOfJob(name, job));
    this.limits = [builtIn, ...own, ...limitsOf(setting.config, this.deployments)];
    for (const [name, given] of Object.entries(setting.workers ?? { w1: 1000 })) {
      const { room, jobs } = typeof given === 'number' ? { room: given } : given;
      this.workers.set(name, { room, jobs, crashed: false, leaseEnded: false });
    }
  }

  /** Throws Refused, and then changes nothing. */
  submit(submission: Submission): void {
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

  cancel(run: string, force = false): void {
    r.cancelRun(this.run(run), force);
  }

  /** False: it is not queued any more, and stays as it is. */
  setPriority(name: string, priority: number): boolean {
    const run = this.run(name);
    if (run.state !== 'queued') return false;
    const more = priority - run.priority;
    for (const subject of [run, ...run.steps]) subject.priority += more;
    return true;
  }

  /** Overrides stay while there is a limit of the name. Throws Refused, and then changes nothing. */
  apply(config: unknown): void {
    const overrides = new Map(this.limits.map(({ name, override }) => [name, override]));
    const limits = limitsOf(config, this.deployments);
    const overridden = limits.map((limit) => ({ ...limit, override: overrides.get(limit.name) ?? null }));
    this.use([...this.limits.filter(({ source }) => source !== 'configuration'), ...overridden]);
  }

  /** The limit counts with this capacity; null: with its own. Throws Refused: there is no such limit. */
  override(name: string, capacity: number | null): void {
    const limit = this.limit(name);
    this.use(this.limits.map((other) => (other === limit ? { ...limit, override: capacity } : other)));
  }

  /** False: there was none. A pause ends with its override. Throws Refused: there is no such limit. */
  unsetOverride(name: string): boolean {
    const { source, override } = this.limit(name);
    if (!this.end(source)) this.override(name, null);
    return override !== null;
  }

  /** Starts nothing new that matches, in place of an earlier pause of this match. */
  pause(match: Record<string, string>, counts: Limit['counts'][] = ['run', 'step']): void {
    const others = this.limits.filter(({ source }) => source !== pauseName('paused', match));
    this.use([...others, ...pauseLimits(match, counts)]);
  }

  /** False: nothing of exactly this match was paused. */
  resume(match: Record<string, string>): boolean {
    return this.end(pauseName('paused', match));
  }

  crash(name: string): void {
    const worker = this.workers.get(name);
    if (!worker) throw new Error(`there is no worker ${name}`);
    worker.crashed = true;
  }

  /** At least 600 seconds, and so past every lease that nobody renews. */
  advance(seconds: number): void {
    this.now += seconds;
    for (const worker of this.workers.values()) worker.leaseEnded ||= worker.crashed;
  }

  /** Everything that the model knows is in the database. */
  restart(): void {}

  snapshot(): Snapshot {
    const steps = this.steps().map(({ step }) => step);
    const waits = [...this.all('queued'), ...this.all('ready').sort(r.inOrder)];
    const waiting = waits.map((subject) => [subject.id, this.waiting(subject).sort()]);
    const names = this.all().flatMap((subject) => this.keys(subject).map(({ name }) => name));
    return {
      runs: Object.fromEntries(this.runs.map((run) => [run.id, r.shownState(run)])),
      steps: Object.fromEntries(steps.map(({ id, state }) => [id, state])),
      waiting: Object.fromEntries(waiting),
      in_use: Object.fromEntries([...new Set(names)].sort().map((name) => [name, this.used(name)])),
      order: [...this.order],
    };
  }

  /** All steps, of all runs, in the order of submission and place. */
  steps(): r.Located[] {
    return this.runs.flatMap((run) => run.steps.map((step) => ({ run, step })));
  }

  /** All subjects, or those in these states. */
  private all(...states: r.State[]): (r.Run | r.Step)[] {
    const subjects = this.runs.flatMap((run) => [run, ...run.steps]);
    return subjects.filter(({ state }) => states.length === 0 || states.includes(state));
  }

  private run(name: string): r.Run {
    const run = this.runs.find((run) => run.name === name);
    if (!run) throw new Error(`there is no run ${name}`);
    return run;
  }

  /** Of those that people may change. */
  private limit(name: string): Limit {
    const limit = this.limits.find((limit) => limit.name === name && limit.source !== 'built-in');
    if (!limit) throw new Refused(`name: there is no limit ${name}`);
    return limit;
  }

  private use(limits: Limit[]): void {
    for (const run of this.runs) if (!r.isEnded(run)) checkNumberOfKeys(run, limits);
    this.limits = limits;
    this.known = new Map();
  }

  private end(pause: string): boolean {
    const others = this.limits.filter(({ source }) => source !== pause || !source.startsWith('paused'));
    const paused = others.length < this.limits.length;
    if (paused) this.use(others);
    return paused;
  }

  private report(id: string, end: r.AttemptEnd, from?: From): boolean {
    const { run, step } = this.steps().find(({ step }) => step.id === id) ?? {};
    if (!run || !step) throw new Error(`there is no step ${id}`);
    if (step.state !== 'running') return false;
    const { worker } = r.current(step);
    if (from && (from.attempt !== step.attempts.length || from.worker !== worker)) return false;
    r.endAttempt(run, step, end);
    return true;
  }

  private timeOut(): boolean {
    return this.endThose('timed out', (step) => {
      return this.now - r.current(step).started > (step.definition.timeout ?? Infinity);
    });
  }

  private reap(): boolean {
    return this.endThose('lost', (step) => this.workers.get(r.current(step).worker)?.leaseEnded === true);
  }

  private endThose(end: r.AttemptEnd, over: (step: r.Step) => boolean): boolean {
    const those = this.steps().filter(({ step }) => step.state === 'running' && over(step));
    for (const { run, step } of those) r.endAttempt(run, step, end);
    return those.length > 0;
  }

  /** A run is admitted when it waits for nothing; its root steps are then ready, which the next run sees. */
  private admit(): boolean {
    const before = this.order.length;
    for (const run of this.runs.filter(({ state }) => state === 'queued').sort(r.inOrder)) {
      if (this.waiting(run).length > 0) continue;
      run.state = 'admitted';
      this.order.push(run.id);
      r.goOn(run);
    }
    return this.order.length > before;
  }

  private claim(): boolean {
    let claimed = false;
    for (const [name, worker] of this.workers) {
      for (const step of worker.crashed ? [] : this.all('ready').sort(r.inOrder)) {
        if (!knows(worker, step) || this.roomOf(name) < 1 || this.full(step).length > 0) continue;
        step.state = 'running';
        step.attempts.push({ worker: name, started: this.now });
        claimed = true;
      }
    }
    return claimed;
  }

  /** Everything that keeps a queued run or a ready step from starting. */
  private waiting(subject: r.Run | r.Step): string[] {
    const isRun = 'steps' in subject;
    const full = [...new Set([...this.full(subject), ...(isRun ? this.fullAhead(subject) : [])])];
    const served = [...this.workers].some(([name, worker]) => {
      return !worker.leaseEnded && knows(worker, subject) && (isRun || this.roomOf(name) > 0);
    });
    return served || (!isRun && full.length > 0) ? full : [...full, 'workers'];
  }

  private full(subject: r.Subject): string[] {
    const full = this.keys(subject).filter(
      ({ name, amount, capacity }) => this.used(name) + amount > capacity,
    );
    return full.map(({ name }) => name);
  }

  /** The full keys of the root steps at which admission looks; none when some root step has room at all of its own. */
  private fullAhead(run: r.Run): string[] {
    const isFull = ({ name, amount, capacity, look_buffer }: Key) =>
      look_buffer !== null &&
      this.used(name) + this.slots(name, this.all('ready')) + amount > capacity + look_buffer;
    const full = r.rootsOf(run).map((root) =>
      this.keys(root)
        .filter(isFull)
        .map(({ name }) => name),
    );
    return full.some(({ length }) => length === 0) ? [] : full.flat();
  }

  /** Slots of a key that all live runs and running steps hold, counted anew. */
  private used(key: string): number {
    return this.slots(key, this.all('admitted', 'running'));
  }

  private slots(key: string, subjects: r.Subject[]): number {
    const keys = subjects.flatMap((subject) => this.keys(subject).filter(({ name }) => name === key));
    return keys.reduce((sum, { amount }) => sum + amount, 0);
  }

  private keys(subject: r.Subject): Key[] {
    const keys = this.known.get(subject) ?? keysOf(this.limits, subject);
    this.known.set(subject, keys);
    return keys;
  }

  private roomOf(worker: string): number {
    const taken = this.steps().filter(
      ({ step }) => step.state === 'running' && r.current(step).worker === worker,
    );
    return (this.workers.get(worker)?.room ?? 0) - taken.length;
  }
}

/** Whether the worker has registered the job. */
function knows({ jobs }: Worker, { attributes }: r.Subject): boolean {
  return jobs === undefined || jobs.includes(attributes.job ?? '');
}

/** What a run takes and what its root steps look at count together. */
function checkNumberOfKeys(run: r.Run, limits: Limit[]): void {
  const looked = r
    .rootsOf(run)
    .flatMap((root) => keysOf(limits, root).filter((key) => key.look_buffer !== null));
  const ofEach = [[...keysOf(limits, run), ...looked], ...run.steps.map((step) => keysOf(limits, step))];
  const most = Math.max(...ofEach.map((keys) => new Set(keys.map(({ name }) => name)).size));
  if (most > 64) throw new Refused('limits: more than 64 keys');
}
