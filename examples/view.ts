/** What people see while it runs: a table that is drawn anew on a terminal, else a line now and then. */

import Table from 'cli-table3';
import { createLogUpdate } from 'log-update';
import pc from 'picocolors';
import type { Lockkeeper } from '../src/index.ts';

type KeyNow = { key: string; limit: string; inUse: number; capacity: number; waiting: string[] };

/** The state of all at one moment. */
export type Frame = {
  seconds: number;
  /** Runs by state. */
  runs: Record<string, number>;
  keys: KeyNow[];
};

/** Reads a frame from the views. `names` has what people call a run. */
export async function readFrame(
  lockkeeper: Lockkeeper,
  names: ReadonlyMap<string, string>,
  seconds: number,
): Promise<Frame> {
  const { execute } = lockkeeper.database;
  const [runs, keys, waiting] = await Promise.all([
    execute('select state, count(*) from lockkeeper.runs where run_id = any ($1) group by state', [
      [...names.keys()],
    ]),
    lockkeeper.limits.keys(),
    execute(
      `select unnest(keys) as key, run_id, step from lockkeeper.waiting order by priority desc, run_id, place`,
      [],
    ),
  ]);
  const byKey = Map.groupBy(waiting.rows, ({ key }) => String(key));
  const nameOf = ({ run_id, step }: Record<string, unknown>) =>
    `${names.get(String(run_id)) ?? run_id}${step == null ? '' : `.${step}`}`;
  return {
    seconds,
    runs: Object.fromEntries(runs.rows.map(({ state, count }) => [String(state), Number(count)])),
    keys: keys.flatMap(({ key, limit, inUse, capacity }) =>
      capacity === null ? [] : [{ key, limit, inUse, capacity, waiting: (byKey.get(key) ?? []).map(nameOf) }],
    ),
  };
}

export type View = { show(frame: Frame): void; end(): void };

/** `lineEverySeconds` is for output that is no terminal. */
export function createView(out: NodeJS.WriteStream, lineEverySeconds = 3): View {
  if (out.isTTY) {
    const draw = createLogUpdate(out);
    return {
      show: (frame) => draw(frameText(frame, out.columns || 80, out.rows || 24)),
      end: () => draw.done(),
    };
  }
  let last = Number.NEGATIVE_INFINITY;
  return {
    show: (frame) => {
      if (frame.seconds - last < lineEverySeconds) return;
      last = frame.seconds;
      out.write(`${lineOf(frame)}\n`);
    },
    end: () => {},
  };
}

const states = ['queued', 'admitted', 'running', 'succeeded', 'failed', 'canceled'];

const runsText = (runs: Frame['runs']) =>
  states
    .filter((state) => runs[state])
    .map((state) => `${runs[state]} ${state}`)
    .join(' · ');

function lineOf({ seconds, runs, keys }: Frame): string {
  const waited = keys
    .filter(({ waiting }) => waiting.length > 0)
    .toSorted((a, b) => b.waiting.length - a.waiting.length)
    .slice(0, 3)
    .map(({ key, inUse, capacity, waiting }) => `${waiting.length} for ${key} (${inUse}/${capacity})`);
  const waits = waited.length === 0 ? '' : `  waiting: ${waited.join(', ')}`;
  return `${seconds.toFixed(0).padStart(3)} s  ${runsText(runs)}${waits}`;
}

const noBorders = Object.fromEntries(
  'top top-mid top-left top-right bottom bottom-mid bottom-left bottom-right left left-mid mid mid-mid right right-mid middle'
    .split(' ')
    .map((part) => [part, '']),
);

/** A table without lines, cut to the columns' widths. */
export function plainTable(head: string[], rows: string[][], widths: number[]): string {
  const table = new Table({
    head: head.map((title) => pc.dim(title)),
    chars: noBorders,
    style: { 'padding-left': 0, 'padding-right': 2, head: [], border: [] },
    colWidths: widths,
  });
  table.push(...rows);
  return table.toString();
}

/** The whole picture, no larger than the terminal. */
export function frameText({ seconds, runs, keys }: Frame, width: number, height: number): string {
  const title = `${pc.bold('lockkeeper')}  ${pc.dim(`${seconds.toFixed(1)} s`)}`;
  const lines = mergedKeys(keys);
  const fits = fitting(lines, Math.max(3, height - 6));
  const keyWidth = Math.min(37, Math.max(24, Math.floor(width * 0.37)));
  const waitsWidth = width - keyWidth - 21;
  const rows = fits.map((each) => [
    shortened(each.label, keyWidth - 3),
    barOf(each),
    waitsOf(each, waitsWidth - 3),
  ]);
  const left = lines.length - fits.length;
  return [
    `${title}   ${runsBar(runs, Math.min(24, width - 66))}`,
    '',
    plainTable(['LIMIT', 'IN USE', 'WAITING FOR IT'], rows, [keyWidth, 20, waitsWidth]),
    ...(left > 0 ? [pc.dim(`… and ${left} more that nothing waits for`)] : []),
  ].join('\n');
}

/** `length` is that of all bars together; too short, and there are only numbers. */
function runsBar(runs: Frame['runs'], length: number): string {
  const total = Object.values(runs).reduce((a, b) => a + b, 0) || 1;
  const paint: Record<string, (text: string) => string> = {
    succeeded: pc.green,
    running: pc.cyan,
    admitted: pc.blue,
    queued: pc.dim,
    failed: pc.red,
    canceled: pc.red,
  };
  const painted = states.toReversed().flatMap((state) => {
    const count = runs[state] ?? 0;
    return count > 0
      ? [
          (paint[state] ?? pc.reset)(
            `${'━'.repeat(Math.max(0, Math.ceil((count / total) * length)))} ${count} ${state}`,
          ),
        ]
      : [];
  });
  return painted.join(' ');
}

/** The end of a key tells it from others, so a long one is cut inside. */
function shortened(text: string, length: number): string {
  if (text.length <= length) return text;
  const end = Math.floor(length / 2);
  return `${text.slice(0, length - end - 1)}…${text.slice(-end)}`;
}

type Line = KeyNow & { label: string };

/** A line for each key; the keys inside runs come and go with their runs, so they share a line with the fullest. */
function mergedKeys(keys: readonly KeyNow[]): Line[] {
  const byLine = Map.groupBy(keys, ({ key, limit }) => (limit.startsWith('executor') ? limit : key));
  return [...byLine]
    .map(([name, some]): Line => {
      const [first] = some.toSorted((a, b) => b.inUse / b.capacity - a.inUse / a.capacity);
      const waiting = some.flatMap((each) => each.waiting);
      const inside = name.startsWith('executor') ? `${name}{each run}` : name;
      return { ...(first as KeyNow), waiting, label: inside };
    })
    .toSorted((a, b) => rank(a) - rank(b) || compare(a.limit, b.limit) || compare(a.key, b.key));
}

const groups = ['runs', 'pool', 'executor', 'branches'];
const compare = (a: string, b: string) => (a < b ? -1 : a > b ? 1 : 0);
const rank = ({ limit }: KeyNow) => groups.findIndex((group) => limit.startsWith(group));

/** The lines that fit; those that nothing waits for give way first, the emptiest before the others. */
function fitting(lines: readonly Line[], room: number): Line[] {
  const weight = ({ waiting, inUse }: Line) => waiting.length * 1_000 + inUse;
  const kept = new Set(lines.toSorted((a, b) => weight(b) - weight(a)).slice(0, room));
  return lines.filter((line) => kept.has(line));
}

const barWidth = 10;

function barOf({ inUse, capacity }: KeyNow): string {
  const filled = capacity === 0 ? 0 : Math.min(barWidth, Math.round((inUse / capacity) * barWidth));
  const paint = inUse > capacity ? pc.red : inUse === capacity ? pc.yellow : pc.green;
  return `${paint('█'.repeat(filled))}${pc.dim('░'.repeat(barWidth - filled))} ${inUse}/${capacity}`;
}

/** Cut before it is painted: cli-table3 would cut off the end of the paint too. */
function waitsOf({ waiting }: KeyNow, length: number): string {
  if (waiting.length === 0) return '';
  const names = waiting.slice(0, 4).join(', ');
  const room = length - 4;
  const shown = names.length <= room ? names : `${names.slice(0, Math.max(0, room - 1))}…`;
  return `${String(waiting.length).padStart(2)}  ${pc.dim(shown)}`;
}
