/** What people see of a database, in one statement, as a model's snapshot. */
import { isDeepStrictEqual } from 'node:util';
import type { Database } from '../../src/database.ts';
import type { Snapshot } from '../model/model.ts';

/** Runs by name and by id. */
export type Names = { runOf: Map<string, string>; idOf: Map<string, string> };

type Seen = {
  runs: [run: string, state: string, admission: number | null][];
  steps: [run: string, step: string, state: string][];
  waiting: [run: string, step: string | null, keys: string[]][];
  keys: [key: string, inUse: number][];
  violations: string[];
};

/** All of these are the views that everybody reads. Named, so that it is planned once: that costs more than the look. */
const statement = `select
  (select coalesce(jsonb_agg(jsonb_build_array(run_id::text, state, admission)), '[]') from lockkeeper.runs) as runs,
  (select coalesce(jsonb_agg(jsonb_build_array(run_id::text, step, state)), '[]') from lockkeeper.steps) as steps,
  (select coalesce(jsonb_agg(jsonb_build_array(run_id::text, step, keys)), '[]') from lockkeeper.waiting) as waiting,
  (select coalesce(jsonb_agg(jsonb_build_array(key, in_use)), '[]') from lockkeeper.keys) as keys,
  array(select violation || ': ' || detail from lockkeeper.violations) as violations`;

export async function readSnapshot(
  { pool }: Database,
  { runOf }: Names,
): Promise<{ snapshot: Snapshot; violations: string[] }> {
  const [seen] = (await pool.query<Seen>({ name: 'look', text: statement })).rows;
  if (!seen) throw new Error('a look must answer one row');
  const nameOf = (id: string) => runOf.get(id) ?? `run ${id}, which nobody submitted`;
  const subject = (run: string, step: string | null) =>
    step === null ? nameOf(run) : `${nameOf(run)}.${step}`;
  const admitted = seen.runs.filter(([, , admission]) => admission !== null);
  admitted.sort(([, , a], [, , b]) => Number(a) - Number(b));
  const snapshot = {
    runs: Object.fromEntries(seen.runs.map(([run, state]) => [nameOf(run), state])),
    steps: Object.fromEntries(seen.steps.map(([run, step, state]) => [subject(run, step), state])),
    waiting: Object.fromEntries(
      seen.waiting.map(([run, step, keys]) => [
        subject(run, step),
        keys.map((key) => keyOf(key, nameOf)).sort(),
      ]),
    ),
    in_use: Object.fromEntries(seen.keys.map(([key, inUse]) => [keyOf(key, nameOf), inUse])),
    order: admitted.map(([run]) => nameOf(run)),
  };
  return { snapshot, violations: seen.violations };
}

/** A key with the run's name in place of its id: the first value of every key inside a run. */
function keyOf(key: string, nameOf: (id: string) => string): string {
  const parts = /^(executor(?:[^"{]|"(?:[^"\\]|\\.)*")*\{)(\d+)([,}].*)$/s.exec(key);
  return parts ? `${parts[1]}${nameOf(parts[2] ?? '')}${parts[3]}` : key;
}

/** What differs, a line each. */
export function differences(model: Snapshot, product: Snapshot): string[] {
  const lines: string[] = [];
  const compare = (what: string, a: unknown, b: unknown) => {
    if (isDeepStrictEqual(a, b)) return;
    lines.push(
      `${what}: model ${JSON.stringify(a) ?? 'nothing'}, database ${JSON.stringify(b) ?? 'nothing'}`,
    );
  };
  const all = (a: object, b: object) => [...new Set([...Object.keys(a), ...Object.keys(b)])].sort();
  for (const part of ['runs', 'steps', 'waiting'] as const) {
    const [a, b] = [model[part], product[part]];
    const what = part === 'waiting' ? 'waiting of ' : '';
    for (const name of all(a, b)) compare(`${what}${name}`, a[name], b[name]);
  }
  // A key without a row is not in use.
  for (const key of all(model.in_use, product.in_use))
    compare(`in_use of ${key}`, model.in_use[key] ?? 0, product.in_use[key] ?? 0);
  compare('order', model.order, product.order);
  return lines;
}
