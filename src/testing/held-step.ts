/** A step that is held open: it has started, and ends when the test says so. */

import { InvalidInputError } from '../errors.ts';
import type { AnyHandler, HandlerContext } from '../jobs/types.ts';

/** `succeed` needs an output unless the step returns nothing. */
type OutputArgument<Output> = null extends Output ? [output?: Output] : [output: Output];

export class HeldStep<Output = unknown, Context extends HandlerContext = HandlerContext> {
  /** Resolves when the step starts, with what its handler would get. It starts inside `settle` or `advance`. */
  readonly started: Promise<Context>;
  readonly #name: string;
  readonly #start = Promise.withResolvers<Context>();
  readonly #end = Promise.withResolvers<unknown>();
  #context: Context | undefined;
  #ended = false;

  /** Use `kit.hold`. */
  constructor(name: string) {
    this.#name = name;
    this.started = this.#start.promise;
    this.#end.promise.catch(() => undefined); // Nobody may be waiting for it.
  }

  /** Whether the step has started and has not ended: neither by the test, nor by an abort, a timeout or a crash. */
  get running(): boolean {
    return this.#context !== undefined && !this.#ended;
  }

  /** What the step's handler would get: `attempt`, `input`, `outputs`, `signal` … Throws before it has started. */
  get context(): Context {
    if (this.#context) return this.#context;
    throw new InvalidInputError(`${this.#name} is held and has not started.`, {
      hint: 'Call settle first; kit.why(run, step) says what it waits for.',
    });
  }

  /** Lets the step return this. What follows happens at the next `settle`. */
  succeed(...output: OutputArgument<Output>): void {
    this.#mustRun();
    this.#end.resolve(output[0] ?? null);
  }

  /** Lets the step throw this: the attempt has failed, and is tried again if the job says so. */
  fail(error: Error | string = 'failed by the test'): void {
    this.#mustRun();
    this.#end.reject(typeof error === 'string' ? new Error(error) : error);
  }

  /** @internal What the worker calls in place of the step's handler. */
  readonly handler: AnyHandler = async (context) => {
    this.#context = context as Context;
    const { signal } = context;
    signal.addEventListener('abort', () => this.abort(signal.reason), { once: true });
    if (signal.aborted) this.abort(signal.reason);
    this.#start.resolve(context as Context);
    return this.#end.promise;
  };

  /** @internal It ends, whether it has started or not. */
  abort(reason: unknown): void {
    this.#ended = true;
    this.#end.reject(reason);
  }

  #mustRun(): void {
    void this.context;
    if (this.#ended) {
      throw new InvalidInputError(`${this.#name} has ended already and cannot end once more.`, {
        hint: 'An abort, a timeout, a crash or an earlier succeed or fail ended it: look at step.running first.',
      });
    }
    this.#ended = true;
  }
}
