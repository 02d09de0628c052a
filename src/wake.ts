/** The only file that waits: timers, the monotonic clock, the loop under every tick, and wakes between processes. */

import { randomUUID } from 'node:crypto';
import { type Database, listen } from './database.ts';
import { delay } from './wake-delay.ts';

export { afterWhatIsDue, delay } from './wake-delay.ts';

/** Milliseconds of a clock that only runs forward; its zero means nothing. */
export const monotonicMs = (): number => performance.now();

/** The wall clock, in milliseconds of the epoch: for people and for pg-boss, never for a decision of ours. */
export const wallClockMs = (): number => Date.now();

/** A process sends at most one hint in so many milliseconds. */
const hintEveryMs = 5;

/** A tick runs at least so often, whatever hints are lost. */
export const idleMs = 1_000;

/** After an error, a loop waits so long, twice as long each time, and no longer than 30 s. */
const errorWaitMs = (attempt: number) => Math.min(30_000, 250 * 2 ** Math.min(attempt - 1, 10));

export type Loop = {
  /** Ticks soon; several calls during a tick make one more. */
  wake(): void;
  /**
   * Somebody has just looked for this loop and found nothing: by itself it ticks no sooner than in so many
   * milliseconds. It is not heard where a tick is to be made again.
   */
  putOff(milliseconds: number): void;
  /** Starts no further tick and waits for the one that runs. */
  stop(): Promise<void>;
};

export type LoopOptions = {
  /** One pass. True: there is more to do right now. */
  tick: () => Promise<boolean>;
  /** A tick failed; the next one comes after a pause. */
  onError: (error: Error) => void;
  /** Pause in milliseconds between ticks when nothing wakes the loop; `idleMs` if left out. */
  everyMs?: number;
};

/** Ticks when woken, after a pause anyway, and again at once while there is more. */
export function loop(options: LoopOptions): Loop {
  const stopping = new AbortController();
  let woken = true;
  let pause = new AbortController();
  let failures = 0;
  let due = 0;
  const wake = () => {
    woken = true;
    // With a reason, no error has to be made for it.
    pause.abort(true);
  };
  const once = async () => {
    try {
      const more = await options.tick();
      failures = 0;
      if (more) woken = true;
    } catch (error) {
      failures += 1;
      options.onError(error as Error);
      woken = false;
      await delay(errorWaitMs(failures), stopping.signal);
    }
  };
  const rest = async () => {
    pause = new AbortController();
    due = monotonicMs() + (options.everyMs ?? idleMs);
    for (let left = due - monotonicMs(); left > 0 && !pause.signal.aborted; left = due - monotonicMs())
      await delay(left, pause.signal);
  };
  const run = async () => {
    while (!stopping.signal.aborted) {
      woken = false;
      await once();
      if (!woken && !stopping.signal.aborted) await rest();
    }
  };
  const running = run();
  return {
    wake,
    putOff: (milliseconds) => {
      if (failures === 0) due = Math.max(due, monotonicMs() + milliseconds);
    },
    stop: async () => {
      stopping.abort();
      pause.abort();
      await running;
    },
  };
}

type WakesDatabase = Pick<Database, 'execute' | 'connectionString' | 'schema'>;

/** For whom there may be something to do: coordinators, workers, who waits for the end of runs. */
export type Wake = 'admit' | 'claim' | 'end';
export const allWakes: readonly Wake[] = ['admit', 'claim', 'end'];

/** What a hint wakes: a loop, or what has one. */
export type Woken = {
  /** `here`: this process found it, and tells others only what this loop leaves. */
  wake(here?: boolean): void;
  /** What it is woken for; all if left out. */
  readonly wakes?: readonly Wake[];
};

/**
 * Hints between processes of one schema, on the channel of its name, through Postgres: sent after a commit, and never a
 * promise. They say who sent them, since a process has woken its own loops already and does not listen to itself, and for
 * whom they are, all if they do not say.
 */
export class Wakes {
  readonly #database: WakesDatabase;
  readonly #id = randomUUID();
  readonly #listeners = new Set<Woken>();
  readonly #onError: (error: Error) => void;
  #listening: { close(): Promise<void> } | undefined;
  #sending: Promise<void> | undefined;
  readonly #due = new Set<Wake>();

  constructor(database: WakesDatabase, onError: (error: Error) => void) {
    this.#database = database;
    this.#onError = onError;
  }

  /** Wakes `listener` at each hint, from this process or another. Returns what ends that. */
  on(listener: Woken): () => void {
    this.#listening ??= listen({
      connectionString: this.#database.connectionString,
      channel: this.#database.schema,
      onNotify: (sender = '') => {
        const [id, ...wakes] = sender.split(' ');
        if (id !== this.#id) this.#wake(wakes.length > 0 ? (wakes as Wake[]) : allWakes, false);
      },
      wait: (attempt) => delay(errorWaitMs(attempt)),
      onError: this.#onError,
    });
    this.#listeners.add(listener);
    return () => this.#listeners.delete(listener);
  }

  /** Wakes the listeners of this process, now and without Postgres, but for the one that has just looked. */
  wakeHere(wakes: readonly Wake[] = allWakes, except?: Woken): void {
    this.#wake(wakes, true, except);
  }

  #wake(wakes: readonly Wake[], here: boolean, except?: Woken): void {
    for (const each of this.#listeners)
      if (each !== except && (each.wakes ?? allWakes).some((wake) => wakes.includes(wake))) each.wake(here);
  }

  /** Tells everybody that something may have changed. Returns at once; a hint that cannot be sent is reported and lost. */
  send(wakes: readonly Wake[] = allWakes): void {
    for (const wake of wakes) this.#due.add(wake);
    this.#sending ??= this.#sendAll();
  }

  async #sendAll(): Promise<void> {
    while (this.#due.size > 0) {
      const { execute, schema } = this.#database;
      const payload = [this.#id, ...this.#due].join(' ');
      this.#due.clear();
      await execute('select pg_notify($1, $2)', [schema, payload]).catch(this.#onError);
      await delay(hintEveryMs);
    }
    this.#sending = undefined;
  }

  async close(): Promise<void> {
    await this.#sending;
    await this.#listening?.close();
  }
}
