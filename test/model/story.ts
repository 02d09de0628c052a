/**
 * Random events on the reference model, and after many of them the model's whole snapshot as what must be seen.
 */
import type { Chance } from './chance.ts';
import { type Event, play } from './check.ts';
import type { Model } from './model.ts';
import { current, isEnded, type Located } from './run.ts';
import { type Config, changedConfig } from './settings.ts';
import { randomTags, type World } from './world.ts';
import { brokenConfig, brokenField } from './wrong.ts';

/** Enough to fill every queue, few enough that one can read the file. */
const mostRuns = 28;

/** What a worker says it has made. */
type Report = { step: string; worker: string; attempt: number };

type Kind =
  | 'submit'
  | 'settle'
  | 'finish'
  | 'fail'
  | 'late'
  | 'stray'
  | 'cancel'
  | 'apply'
  | 'broken submit'
  | 'broken apply'
  | 'crash'
  | 'advance'
  | 'restart';

/** How likely, of 100, the whole snapshot is asked for right after such an event. */
const looks: Record<Kind, number> = {
  submit: 15,
  settle: 90,
  finish: 35,
  fail: 45,
  late: 40,
  stray: 40,
  cancel: 50,
  apply: 60,
  'broken submit': 10,
  'broken apply': 30,
  crash: 40,
  advance: 50,
  restart: 50,
};

export class Story {
  readonly events: Event[] = [];
  /** Events without `expect`. */
  length = 0;
  private readonly chance: Chance;
  private readonly world: World;
  private readonly model: Model;
  private config: Config;
  private keys = new Set<string>();
  private looked = false;
  private settled = false;

  constructor(chance: Chance, world: World, model: Model, config: Config) {
    this.chance = chance;
    this.world = world;
    this.model = model;
    this.config = config;
  }

  /** One event, or a few of the same kind in a row. */
  goOn(): void {
    const kind = this.chance.weighted(this.weights());
    const burst = kind === 'submit' || kind === 'finish' ? this.chance.one([1, 1, 2, 3]) : 1;
    for (let time = 0; time < burst; time += 1) {
      const event = this.make(kind);
      if (event) this.tell(event);
    }
    if (this.chance.percent(looks[kind])) this.look();
  }

  /**
   * Settles all; in half of the stories then works off what can be, some with all limits lifted: whatever can
   * start must have started by the end.
   */
  end(): void {
    this.tell({ settle: true });
    this.look();
    if (this.chance.percent(30)) this.tell({ apply: {} });
    const rounds = this.chance.percent(50) ? 12 : 0;
    for (let round = 0; round < rounds && this.reporters().length > 0; round += 1) {
      for (const located of this.reporters()) {
        if (this.chance.percent(75)) this.tell({ finish: located.step.id });
      }
      this.tell({ settle: true });
      if (this.chance.percent(40)) this.look();
    }
    this.tell({ settle: true });
    this.look();
  }

  private tell(event: Event): void {
    const wrong = play(this.model, event);
    if (wrong.length > 0) throw new Error(`${JSON.stringify(event)}: ${wrong.join('; ')}`);
    this.events.push(event);
    this.length += 1;
    this.looked = false;
    this.settled = event.settle === true;
    for (const key of Object.keys(this.model.snapshot().in_use)) this.keys.add(key);
  }

  /** The whole snapshot, with a 0 for each key that there has ever been. */
  private look(): void {
    if (this.looked) return;
    const seen = this.model.snapshot();
    const keys = [...this.keys].sort().map((key) => [key, seen.in_use[key] ?? 0]);
    this.events.push({ expect: { ...seen, in_use: Object.fromEntries(keys) } });
    this.looked = true;
  }

  private weights(): Record<Kind, number> {
    const { trouble } = this.world.preset;
    const busy = this.reporters().length > 0;
    const live = this.model.runs.filter((run) => !isEnded(run)).length;
    const few = live < 8 ? 30 : live < 14 ? 14 : 4;
    const crashable = [...this.model.workers.values()].filter(({ crashed }) => !crashed).length;
    return {
      submit: this.model.runs.length < mostRuns ? few : 0,
      settle: this.settled ? 5 : 30,
      finish: busy ? 20 : 0,
      fail: busy ? 7 : 0,
      late: this.taken().length > 0 ? (trouble ? 6 : 5) : 0,
      stray: this.foreign().length > 0 ? 0.8 : 0,
      cancel: live > 0 ? 6 : 0,
      apply: 7,
      'broken submit': 1.5,
      'broken apply': 1.5,
      crash: crashable > 1 ? (trouble ? 6 : 1.5) : crashable > 0 ? 0.2 : 0,
      advance: trouble ? 7 : 2,
      restart: 2,
    };
  }

  private make(kind: Kind): Event | undefined {
    const { chance } = this;
    switch (kind) {
      case 'submit':
        return this.model.runs.length < mostRuns ? this.submission() : undefined;
      case 'broken submit':
        return { ...this.submission(), ...brokenField(chance, this.world) };
      case 'settle':
        return { settle: true };
      case 'finish':
      case 'fail':
        return this.report(kind);
      case 'late':
        return this.refused(chance.one(this.taken()));
      case 'stray':
        return this.refused(chance.one(this.foreign()));
      case 'cancel':
        return this.cancellation();
      case 'apply':
        this.config = changedConfig(chance, this.world, this.config);
        return { apply: structuredClone(this.config) };
      case 'broken apply':
        return brokenConfig(chance, this.world, this.config);
      case 'crash':
        return { crash: chance.one([...this.model.workers].filter(([, { crashed }]) => !crashed))[0] };
      case 'advance':
        return { advance: chance.one([600, 600, 601, 900, 1200, 3600]) };
      case 'restart':
        return { restart: true };
    }
  }

  private submission(): Event {
    const { chance, world } = this;
    const { preset, deployments } = world;
    const event: Event = {
      submit: `r${this.model.runs.length + 1}`,
      job: chance.one(Object.keys(this.model.setting.jobs)),
    };
    const tags = preset.runTags && chance.percent(75) ? randomTags(chance, world) : {};
    if (Object.keys(tags).length > 0) event.tags = tags;
    if (chance.percent(35)) event.priority = chance.percent(4) ? 2147483647 : chance.between(-2, 4);
    if (preset.deployments && chance.percent(65)) event.deployment = chance.one(Object.keys(deployments));
    if (preset.executor && chance.percent(15)) event.max_concurrent = chance.between(1, 3);
    return event;
  }

  private report(kind: 'finish' | 'fail'): Event | undefined {
    const running = this.reporters();
    if (running.length === 0) return undefined;
    const { step } = this.chance.one(running);
    return { [kind]: step.id };
  }

  /** Mostly of a run that lives; force is for those that hang. */
  private cancellation(): Event {
    const { chance, model } = this;
    const live = model.runs.filter((run) => !isEnded(run));
    const run = chance.one(chance.percent(85) ? live : model.runs);
    return { cancel: run.name, ...(chance.percent(30) ? { force: true } : {}) };
  }

  /** The steps that run on a worker that lives: those that may report. */
  private reporters(): Located[] {
    return this.model.steps().filter(({ step }) => {
      return step.state === 'running' && !this.model.workers.get(current(step).worker)?.crashed;
    });
  }

  /** Attempts that ended without their worker's word; of steps that the same worker runs again, if there are. */
  private taken(): Report[] {
    const taken = this.model.steps().flatMap(({ step }) =>
      step.attempts.flatMap(({ worker, end }, place) => {
        if (end !== 'timed out' && end !== 'lost' && end !== 'forced') return [];
        const again = step.state === 'running' && worker === current(step).worker;
        return [{ step: step.id, worker, attempt: place + 1, again }];
      }),
    );
    const again = taken.filter(({ again }) => again);
    return again.length > 0 ? again : taken;
  }

  /** The attempts that run, each with a worker that does not make it. */
  private foreign(): Report[] {
    return this.model.steps().flatMap(({ step }) => {
      if (step.state !== 'running') return [];
      const others = [...this.model.workers.keys()].filter((name) => name !== current(step).worker);
      return others.map((worker) => ({ step: step.id, worker, attempt: step.attempts.length }));
    });
  }

  /** A call that must be refused. */
  private refused({ step, worker, attempt }: Report): Event {
    const call = this.chance.percent(70) ? { finish: step } : { fail: step };
    return { ...call, worker, attempt, refused: true };
  }
}
