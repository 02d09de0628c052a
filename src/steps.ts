/** Steps as a worker gets them, and how it ends them. */

/** A step that was claimed: it runs, and it is this worker's. */
export type Claimed = {
  runId: string;
  place: number;
  attempt: number;
  job: string;
  version: string;
  step: string;
  deployment: string;
  /** Tags of the step. */
  tags: Readonly<Record<string, string>>;
  /** Tags of its run. */
  runTags: Readonly<Record<string, string>>;
  /** Greater with each attempt of any step: what the step writes to can refuse a smaller one than it has seen. */
  fencingToken: number;
  timeoutMs: number | null;
  input: unknown;
  /** Outputs of the steps that it is after, by name. */
  outputs: Readonly<Record<string, unknown>>;
};

/** Why an attempt failed, as it is stored. */
export type StepError = { name: string; message: string; stack?: string | undefined };

/** How an attempt ended; `returned`: it was not started, and does not count. */
export type Ending = { runId: string; place: number; attempt: number } & (
  | { outcome: 'succeeded'; output?: unknown }
  | { outcome: 'failed'; error: StepError }
  | { outcome: 'returned' }
);

/** A claimed step from the JSON of the SQL function `claim`. */
export function claimedOf(row: Record<string, unknown>): Claimed {
  return {
    runId: String(row.run_id),
    place: Number(row.place),
    attempt: Number(row.attempt),
    job: String(row.job),
    version: String(row.version),
    step: String(row.step),
    deployment: String(row.deployment),
    tags: row.tags as Record<string, string>,
    runTags: row.run_tags as Record<string, string>,
    fencingToken: Number(row.fencing_token),
    timeoutMs: row.timeout_ms === null ? null : Number(row.timeout_ms),
    input: row.input,
    outputs: row.outputs as Record<string, unknown>,
  };
}

/** An ending as the SQL function `finish` takes it. */
export function itemOf(ending: Ending): Record<string, unknown> {
  const { runId, place, attempt, outcome } = ending;
  const item = { run_id: runId, place, attempt, outcome };
  if (outcome === 'succeeded') return { ...item, output: ending.output ?? null };
  if (outcome === 'failed') return { ...item, error: ending.error };
  return item;
}
