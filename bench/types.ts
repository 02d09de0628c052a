/** What the parts of the bench hand to each other. */

/** A line of the results, as `--json` writes it. */
export type Result = {
  /** The name of the figure: `exact`, `use`, … */
  bench: string;
  /** What was varied: "limit 10 × 50 ms". */
  case: string;
  /** Who did it: `lockkeeper`, a peer with its set-up ("pg-boss, 4 × batch 10"), or `floor`. */
  system: string;
  /** The median of the repeats. */
  value: number;
  unit: string;
  /** The least and the greatest of the repeats, or the ends of a 95 % interval where `ratio` came from pairs. */
  spread: [number, number];
  /** The most that handlers of one key were seen at once over its capacity; null where nothing has a limit. */
  overshoot: number | null;
  /** Ours to the one in this line, or this line to its baseline; null where nothing is compared. */
  ratio: number | null;
};

/** What a figure must reach, and whether it did; shown under its table. */
export type Verdict = {
  bench: string;
  case: string;
  goal: string;
  seen: string;
  met: boolean;
  /** It could not be measured; `seen` says why. */
  failed?: true;
};

export type Figure = { results: Result[]; verdicts: Verdict[] };

/** One figure of the bench. */
export type Bench = {
  name: string;
  title: string;
  /** How it was obtained, for the page: what is done, what the clock covers, what would make it throw. Markdown. */
  about: string;
  /** Measures its parts by `context.parts`, and answers all lines. */
  run(context: Context): Promise<Figure>;
};

/** A part of a figure: it is measured also when another one fails. */
export type Part = {
  name: string;
  /** When it takes longer than so many seconds, it has failed. Left out: many times what a part should take. */
  seconds?: number;
  /** Throws when it could not measure. */
  measure(): Promise<Figure>;
};

export type Context = {
  /** 100,000 where a row says a million, three repeats. */
  quick: boolean;
  /** How often each case is measured: 5, or 3 if quick. */
  repeats: number;
  server: BenchServer;
  /** Of this run of the bench, free to use, removed at its end. */
  folder: string;
  /** A line about progress, for people. */
  say(line: string): void;
  /** Measures these, in this order; one that fails gives a verdict that says so. To be called once. */
  parts(parts: readonly Part[]): Promise<Figure>;
};

/** The one Postgres that all systems are measured on; fsync and synchronous_commit are on. */
export type BenchServer = {
  /** Of its database `postgres`, as a superuser. */
  url: string;
  version: string;
  /** A new database, empty or a copy of a template, which is made when it is first asked for. */
  database(purpose: string, template?: Template): Promise<NewDatabase>;
};

/** `drop` waits a little for connections that are about to end, and ends the others. */
export type NewDatabase = { url: string; drop(): Promise<void> };

/** What many databases begin with. */
export type Template = {
  name: string;
  /** Makes it of an empty database, and closes its connections. */
  migrate(url: string): Promise<void>;
};

/** What a limit of the bench is about; each system says in its file how it keeps it. */
export type Limit =
  /** At most so many pieces of work at once, of all. Ours: a pool of steps, or with `runs` the run queue. */
  | { kind: 'key'; capacity: number; runs?: boolean }
  /** At most so many at once of each tenant. Ours: a tag limit on each unique value. */
  | { kind: 'tenants'; capacity: number }
  /** Of ours only: deployment, unique tag and pool, none ever full. */
  | { kind: 'three' }
  | { kind: 'none' };

/** A kind of work, the same in the process that submits and in those that work. */
export type Work = {
  limit: Limit;
  /** What each handler takes. */
  handlerMs: number;
  /** Of ours only: the job that a process serves; all the same job if left out. */
  job?: string;
  /** Of ours only: where wakes are heard, past a pooler. */
  wakesUrl?: string;
};

/** One piece of work: a run of one step for us, a job or a workflow elsewhere. */
export type Item = {
  no: number;
  tenant?: string;
  /** Of ours only: another job than that of all. */
  job?: string;
};

/** Worker processes of one system, in the process that they are in. */
export type Working = {
  /** Drains and closes everything. */
  stop(): Promise<void>;
};

/** One system under test, ours or a peer with one set-up. Loaded by name in every process. */
export type System = {
  /** As results name it: "lockkeeper", "pg-boss, 4 × batch 10". */
  name: string;
  /** Of the package, from its package.json. */
  version: string;
  /** How it is set up, and by which page of its docs, for the page of the bench. */
  setup: string;
  /** Which limits it can keep at all. */
  keeps(limit: Limit): boolean;
  /** What its databases begin with: its schema, and all that is the same for all work. */
  template: Template;
  /** What this work needs beside it, such as limits, in a new database. */
  prepare(url: string, work: Work): Promise<void>;
  /** Submits all the items, as fast as its docs allow; resolves when they are committed. `open` once for a process. */
  open(
    url: string,
    work: Work,
  ): Promise<{ submit(items: readonly Item[]): Promise<void>; close(): Promise<void> }>;
  /** Works in this process, on `room` items at once, until stopped; the handler takes the marks. */
  work(url: string, work: Work, room: number, handler: (item: Item) => Promise<void>): Promise<Working>;
};
