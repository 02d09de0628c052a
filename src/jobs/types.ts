/** Writes to the worker's log; every line carries run, step and attempt. A pino logger is one. */
export type Logger = Record<'debug' | 'info' | 'warn' | 'error', LogLine>;
type LogLine = {
  (message: string): void;
  (fields: object, message?: string): void;
};

/** The run that a handler works for. */
export type HandlerRun = {
  readonly id: string;
  readonly job: string;
  readonly version: string;
  readonly deployment: string;
  readonly tags: Readonly<Record<string, string>>;
};

/** What a handler gets: `input` as the job's schema gives it, `outputs` of the steps named in `after`. */
export type HandlerContext<Input = unknown, Outputs = Readonly<Record<string, unknown>>> = {
  readonly run: HandlerRun;
  /** The name of this step. */
  readonly step: string;
  /** 1 at the first start of this step; one more each time that it is started again. */
  readonly attempt: number;
  /** Greater with each attempt of this step. Pass it to what the step writes to, and let that refuse a smaller one. */
  readonly fencingToken: number;
  readonly input: Input;
  readonly outputs: Outputs;
  /** Aborted when the run is canceled, the step's time is up or the lease is lost: stop, what comes back is refused. */
  readonly signal: AbortSignal;
  readonly log: Logger;
  /** Tells people how far the step is: any JSON. Never waits, and the last word wins. */
  readonly progress: (value: unknown) => void;
};

/** The user's function for a step. What it returns is the step's output; what it throws makes the attempt fail. */
export type Handler<Input, Outputs, Output> = (
  context: HandlerContext<Input, Outputs>,
) => Output | Promise<Output>;

/** Any handler, for places that do not care for its types. */
// biome-ignore lint/suspicious/noExplicitAny: a handler takes its context, so no other type holds every handler
export type AnyHandler = (context: HandlerContext<any, any>) => unknown;

/** What is left of a value after it was stored as JSON: a Date is a string, nothing is null, a function is gone. */
export type Stored<T> = unknown extends T
  ? T
  : T extends string | number | boolean | null
    ? T
    : T extends void
      ? null
      : T extends { toJSON(): infer J }
        ? Stored<J>
        : T extends bigint | symbol | ((...parameters: never) => unknown)
          ? never
          : { [K in keyof T]: T extends readonly unknown[] ? Stored<T[K]> : StoredMember<T[K]> };

/** A member that is undefined is left out, so it is read as undefined again. */
type StoredMember<T> = T extends undefined ? undefined : Stored<T>;

/** One form of a tag limit inside a run: over all steps with the tag, with its value, or for each value on its own. */
export type TagLimitOptions = {
  key: string;
  value?: string | { applyLimitPerUniqueValue: boolean } | undefined;
  /** 1 or more; -1 or null is unlimited. */
  limit: number | null;
};

/** What limits the steps inside each run of the job. It replaces the `executor` block of the configuration as a whole. */
export type ExecutorOptions = {
  /** At most so many steps at once: 1 or more; -1, null or left out is unlimited. */
  maxConcurrent?: number | null | undefined;
  /** Steps at once that have a tag: a list of { key, value, limit }, in the three forms of the configuration. */
  tagConcurrencyLimits?: readonly TagLimitOptions[] | undefined;
};

/** How often a step that fails is tried again, and when. */
export type RetryOptions = {
  /** How often the step may be tried, the first time included: 1 or more. Lost workers do not count. Default: 1. */
  maxAttempts?: number | undefined;
  /** Milliseconds before the second attempt. Default: 0, at once. */
  backoffMs?: number | undefined;
  /** The wait grows by this factor with each further attempt: 1 or more. Default: 2. */
  backoffFactor?: number | undefined;
  /** The wait grows no longer than so many milliseconds. Default: an hour. */
  backoffMaxMs?: number | undefined;
};

/** What may be said of a step. */
export type StepOptions<After extends string = string> = {
  /** The steps that must have succeeded before; their outputs are the handler's `outputs`. */
  after?: readonly After[] | undefined;
  /** The pool that the step uses (one slot), or several with the number of slots of each. */
  pool?: string | Readonly<Record<string, number>> | undefined;
  /** Tags of the step, for executor tag limits. */
  tags?: Readonly<Record<string, string>> | undefined;
  /** Added to the run's: higher is claimed first. 32 bits. Default: 0. */
  priority?: number | undefined;
  /** How often the step is tried again after a failure, and when. Left out: never. */
  retry?: RetryOptions | undefined;
  /** How often the step's worker may be lost before the step has failed: 0 or more. Default: 3. */
  maxLosses?: number | undefined;
  /** An attempt that runs longer has failed. Default: none. */
  timeoutSeconds?: number | undefined;
};
