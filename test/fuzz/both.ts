/** Plays actions on the model and on the product, and tells after each what differs. */
import { isDeepStrictEqual } from 'node:util';
import { Model, type Setting } from '../model/model.ts';
import { Refused } from '../model/refusals.ts';
import { current, type Submission } from '../model/run.ts';
import type { Action, Ending } from './actions.ts';
import type { Product } from './product.ts';
import { differences } from './snapshot.ts';

type Of<D extends Action['do']> = Extract<Action, { do: D }>;

export class Both {
  readonly model: Model;
  readonly keyed = new Map<string, Submission>();
  /** What waits in the queue lockkeeper.submit; at most one, so that there is one order. */
  sent: Of<'send'> | undefined;
  readonly #product: Product;

  private constructor(model: Model, product: Product) {
    this.model = model;
    this.#product = product;
  }

  static async begin(product: Product, setting: Setting): Promise<Both> {
    const model = new Model(setting);
    await product.begin(setting);
    return new Both(model, product);
  }

  /** Does it to both; answers what differs, a line each. Throws Invalid when it makes no sense here. */
  async play(action: Action): Promise<string[]> {
    const wrong = await this.#act(action);
    const { snapshot, violations } = await this.#product.look();
    return [
      ...wrong,
      ...differences(this.model.snapshot(), snapshot),
      ...violations.map((violation) => `violation: ${violation}`),
    ];
  }

  async #act(action: Action): Promise<string[]> {
    const { model } = this;
    const product = this.#product;
    switch (action.do) {
      case 'settle':
        return this.#settle();
      case 'submit':
        return this.#submit(action);
      case 'send':
        this.sent = action;
        await product.send(action.run);
        return [];
      case 'end':
        return this.#end(action);
      case 'claim again':
        return this.#claimAgain(action);
      case 'apply':
        return this.#sameAnswer(
          action.rejected,
          () => model.apply(action.config),
          () => product.apply(action.config),
        );
      case 'cancel':
        for (const run of action.runs) model.cancel(run, action.force);
        await product.cancel(action.runs, action.force);
        return [];
      case 'cancel ticket':
      case 'delete ticket':
      case 'fetch ticket':
        await product.ticket(action.do, action.run);
        return [];
      case 'audit':
        return this.#audit();
      case 'archive':
        await product.archive();
        return [];
      case 'override':
      case 'unset override':
      case 'pause':
      case 'resume':
      case 'set priority':
        return this.#change(action);
      default:
        await this.#worker(action);
        return [];
    }
  }

  /** What was sent arrives, and a ticket canceled in pg-boss cancels its run, before anything is admitted. */
  async #settle(): Promise<string[]> {
    const { model, sent } = this;
    const { canceled } = await this.#product.tickets();
    for (const { name, state } of model.runs)
      if (state === 'queued' && canceled.includes(name)) model.cancel(name);
    this.sent = undefined;
    if (sent && sent.rejected === undefined) {
      model.submit(sent.run);
      this.keyed.set(sent.run.submit, sent.run);
    }
    model.settle();
    await this.#product.settle();
    if (!sent) return [];
    const arrived = await this.#product.arrived(sent.run);
    return arrived === (sent.rejected === undefined)
      ? []
      : [`what was sent ${arrived ? 'became a run' : 'is lost'}`];
  }

  async #submit({ runs, keyed, rejected, again }: Of<'submit'>): Promise<string[]> {
    const { model } = this;
    if (again) {
      const created = await this.#product.submit(runs, keyed);
      return created.includes(true) ? ['a key that was seen made a second run'] : [];
    }
    const wrong = await this.#sameAnswer(
      rejected,
      () => submitAll(model, runs),
      () => this.#product.submit(runs, keyed),
    );
    if (keyed && rejected === undefined) for (const run of runs) this.keyed.set(run.submit, run);
    return wrong;
  }

  /** Both do it; with a text, both must refuse it, and the error must contain it. */
  async #sameAnswer(rejected: string | undefined, model: () => void, product: () => Promise<unknown>) {
    const refused = refusalBy(model);
    const error = await product().then(
      () => undefined,
      (thrown: Error) => thrown.message,
    );
    if ((refused === undefined) !== (error === undefined))
      return [`model: ${refused ?? 'accepted'}; database: ${error ?? 'accepted'}`];
    if (rejected === undefined || error?.toLowerCase().includes(rejected.toLowerCase())) return [];
    return [`the error should contain "${rejected}": ${error ?? 'there was none'}`];
  }

  async #end({ worker, endings, late }: Of<'end'>): Promise<string[]> {
    const accepted = endings.map((ending) => this.#endInModel(worker, ending));
    const answers = await this.#product.end(worker, endings);
    return endings.flatMap(({ step }, place) => {
      const answer = answers[place];
      if (accepted[place] ? answer === 'accepted' : answer === 'refused') return [];
      if (late === 'over' && !accepted[place] && answer === 'already') return [];
      return [`the end of ${step}: model ${accepted[place] ? 'accepted' : 'refused'}, database ${answer}`];
    });
  }

  #endInModel(worker: string, { step, attempt, fails }: Ending): boolean {
    const from = { worker, attempt };
    return fails ? this.model.fail(step, from) : this.model.finish(step, from);
  }

  async #claimAgain({ worker, older }: Of<'claim again'>): Promise<string[]> {
    const { granted, answered } = await this.#product.claimAgain(worker, older);
    const held = (this.#held().get(worker) ?? []).map(({ step, attempt }) => {
      return { ...this.#product.ref(step), attempt };
    });
    const same = (a: (typeof held)[number], b: (typeof held)[number]) =>
      a.runId === b.runId && a.place === b.place && a.attempt === b.attempt;
    const still = older ? [] : granted.filter((step) => held.some((other) => same(step, other)));
    const missing = still.filter((step) => !answered.some((other) => same(step, other)));
    const more = answered.filter((step) => !still.some((other) => same(step, other)));
    return missing.length + more.length === 0
      ? []
      : [`a claim again: not answered ${JSON.stringify(missing)}, too much ${JSON.stringify(more)}`];
  }

  async #audit(): Promise<string[]> {
    const before = new Set((await this.#product.tickets()).canceled);
    const repaired = await this.#product.audit();
    const { there, canceled } = await this.#product.tickets();
    const queued = this.model.runs.filter(({ state }) => state === 'queued').map(({ name }) => name);
    const wanted = queued.filter((run) => !before.has(run)).sort();
    const found = there.filter((run) => !canceled.includes(run)).sort();
    if (!isDeepStrictEqual(wanted, found)) repaired.push(`tickets should be of ${wanted}, are of ${found}`);
    return repaired;
  }

  async #change(
    action: Of<'override' | 'unset override' | 'pause' | 'resume' | 'set priority'>,
  ): Promise<string[]> {
    const { model } = this;
    const product = this.#product;
    const both = (inModel: () => void, inProduct: () => Promise<void>) =>
      this.#sameAnswer(undefined, inModel, inProduct);
    switch (action.do) {
      case 'override':
        return both(
          () => model.override(action.limit, action.capacity),
          () => product.override(action.limit, action.capacity),
        );
      case 'unset override':
        return both(
          () => model.unsetOverride(action.limit),
          () => product.unsetOverride(action.limit),
        );
      case 'pause':
        return both(
          () => model.pause(action.match, action.counts),
          () => product.pause(action.match, action.counts),
        );
      case 'resume':
        return both(
          () => model.resume(action.match),
          () => product.resume(action.match),
        );
      case 'set priority':
        return both(
          () => model.setPriority(action.run, action.priority),
          () => product.setPriority(action.run, action.priority),
        );
    }
  }

  async #worker(action: Of<'crash' | 'stop' | 'start' | 'advance' | 'restart'>): Promise<void> {
    const { model } = this;
    const product = this.#product;
    switch (action.do) {
      case 'crash':
        model.crash(action.worker);
        product.crash(action.worker);
        return;
      case 'stop': {
        const worker = model.workers.get(action.worker);
        if (worker) Object.assign(worker, { crashed: true, leaseEnded: true });
        return product.stop(action.worker);
      }
      case 'start': {
        const { worker, room, jobs } = action;
        model.workers.set(worker, { room, jobs, crashed: false, leaseEnded: false });
        return product.start(worker, room, jobs);
      }
      case 'advance':
        model.advance(action.seconds);
        return product.advance(action.seconds, this.#held());
      case 'restart':
        return product.restart();
    }
  }

  /** By worker, what it runs. */
  #held(): Map<string, { step: string; attempt: number }[]> {
    const running = this.model.steps().filter(({ step }) => step.state === 'running');
    return Map.groupBy(
      running.map(({ step }) => ({
        step: step.id,
        attempt: step.attempts.length,
        worker: current(step).worker,
      })),
      ({ worker }) => worker,
    );
  }
}

/** Answers why the model refuses; undefined: it does not. */
function refusalBy(act: () => void): string | undefined {
  try {
    act();
    return undefined;
  } catch (error) {
    if (error instanceof Refused) return error.message;
    throw error;
  }
}

/** All or none. */
function submitAll(model: Model, runs: Submission[]): void {
  const before = model.runs.length;
  try {
    for (const run of runs) model.submit(run);
  } catch (error) {
    model.runs.length = before;
    throw error;
  }
}
