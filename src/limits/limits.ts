/** The limits of a database, and what can be done to them while things run. */

import type { Executor } from '../database.ts';
import {
  applyConfig,
  type KeyState,
  type LimitChange,
  type LimitState,
  listKeys,
  listLimits,
  type PlannedChange,
  planConfig,
} from './apply.ts';

/** A limit of the user's own: of the live runs or steps that match, grouped by `per`, never more than `capacity` slots. */
export type OwnLimit = {
  /** Shown to whoever waits; not beginning with runs, pool, executor, branches, workers or paused. */
  name: string;
  /** Runs count from admission to their end, steps while they run. */
  counts: 'run' | 'step';
  /**
   * Attributes of the subject: `deployment`, `deployment_kind`, `job`, `step`, `pool`, `tag.<key>`. A text must be equal,
   * `true` means that the subject has it. Left out: every subject.
   */
  match?: Readonly<Record<string, string | true>> | undefined;
  /** Attributes whose values make groups, `run` among them; each group has slots of its own. */
  per?: readonly string[] | undefined;
  /**
   * 0 starts nothing, null is unlimited. A text is an attribute of the subject that has the number: `max_concurrent` or
   * `tag.<key>`, in a limit that is grouped by run, or by that attribute.
   */
  capacity: number | string | null;
  /** Names of limits that do not count for a subject that this one matches. */
  replaces?: readonly string[] | undefined;
};

/** What `set` did to a limit. */
export type LimitSet = { name: string; change: 'added' | 'changed' | 'unchanged' };

/** Who set it, why, and until when; without `until` it stays until it is taken away. */
export type Reasoned = { by: string; why: string; until?: Date | string | undefined };

/**
 * What a pause holds back: everything (`{}`), or what has these attributes, such as `{ job: 'load' }` or
 * `{ deployment: 'pr-1' }`.
 */
export type PauseMatch = Readonly<Record<string, string | true>>;

/**
 * Every change is one transaction and counts at once; what is live keeps its slots. A change by `set`, `override` or
 * `pause` stays whatever is applied. Errors are InvalidInputError, and name the field.
 */
export class Limits {
  readonly #execute: Executor;
  readonly #changed: () => void;

  /** `changed` is called after a change that may let something start. */
  constructor(execute: Executor, changed: () => void) {
    this.#execute = execute;
    this.#changed = changed;
  }

  /** All limits. */
  list(): Promise<LimitState[]> {
    return listLimits(this.#execute);
  }

  /** The keys in use, with what they hold. */
  keys(): Promise<KeyState[]> {
    return listKeys(this.#execute);
  }

  /** Replaces the whole configuration; an object in the shape of `lockkeeper.yaml`. Answers what changed. */
  apply(config: unknown): Promise<LimitChange[]> {
    return this.#then(applyConfig(this.#execute, config));
  }

  /** What `apply` would change; changes nothing. Empty: the database is as the configuration says. */
  plan(config: unknown): Promise<PlannedChange[]> {
    return planConfig(this.#execute, config);
  }

  /** Adds or changes a limit of your own. */
  set(limit: OwnLimit): Promise<LimitSet['change']> {
    return this.#call('lockkeeper.set_limit($1)', [JSON.stringify(limit)]);
  }

  /** Adds or changes several, in one statement: all or none. */
  async setAll(limits: readonly OwnLimit[]): Promise<LimitSet[]> {
    const set = this.#execute(
      `select l.value ->> 'name' as name, lockkeeper.set_limit(l.value) as change
       from jsonb_array_elements($1::jsonb) with ordinality l(value, place) order by l.place`,
      [JSON.stringify(limits)],
    );
    return (await this.#then(set)).rows as LimitSet[];
  }

  /** Drops a limit that `set` made; false: there is none of this name. */
  drop(name: string): Promise<boolean> {
    return this.#call('lockkeeper.drop_limit($1)', [name]);
  }

  /** Has a limit count with this capacity instead of its own, 0 to pause it. */
  async override(name: string, capacity: number, { by, why, until }: Reasoned): Promise<void> {
    const values = [name, capacity, by, why, until ?? null];
    await this.#call('lockkeeper.override_limit($1, $2, $3, $4, $5)', values);
  }

  /** Ends an override; false: there was none. */
  unset(name: string): Promise<boolean> {
    return this.#call('lockkeeper.unset_override($1)', [name]);
  }

  /**
   * Starts nothing new that matches; what runs goes on. `counts`: hold back the admission of runs, steps, or (left out)
   * both. Answers the name under which `why` shows it.
   */
  pause(
    match: PauseMatch,
    { by, why, until, counts = ['run', 'step'] }: Reasoned & { counts?: readonly ('run' | 'step')[] },
  ): Promise<string> {
    const values = [JSON.stringify(match), by, why, until ?? null, counts];
    return this.#call('lockkeeper.pause($1, $2, $3, $4, $5)', values);
  }

  /** Ends the pause of exactly this match; false: there was none. */
  resume(match: PauseMatch): Promise<boolean> {
    return this.#call('lockkeeper.resume($1)', [JSON.stringify(match)]);
  }

  async #call<T>(call: string, values: unknown[]): Promise<T> {
    const { rows } = await this.#then(this.#execute(`select ${call} as answer`, values));
    return rows[0]?.answer as T;
  }

  async #then<T>(work: Promise<T>): Promise<T> {
    const answer = await work;
    this.#changed();
    return answer;
  }
}
