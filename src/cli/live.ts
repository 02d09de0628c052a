/** The live view of `dev`: what the limits hold, which runs there are, and who waits for what. */

import type { Lockkeeper } from '../lockkeeper.ts';
import { select } from './connect.ts';
import { type Colours, coloursOf, type Io } from './io.ts';
import { type Column, paintState, table } from './table.ts';
import { cut, shownDuration } from './text.ts';

type Key = { key: string; limit: string; in_use: number; capacity: number };
/** Runs or steps of a job that wait for the same keys. */
type Wait = {
  job: string;
  counts: 'run' | 'step';
  /** The full ones; `workers`, where nobody serves the job. */
  keys: string[];
  many: number;
  /** The next in turn. */
  first_run_id: string;
  /** Since when the one waits that waits longest; null where it has just come. */
  since: Date | null;
  now: Date;
};

/** What is to be seen at one moment. */
export type Frame = {
  /** Runs that have not ended, or ended since the view began. */
  runs: Record<string, number>;
  keys: Key[];
  waits: Wait[];
  workers: { live: number; running: number; room: number };
};

/** Reads a frame from the views; `since`: from when on ended runs are counted. */
export async function readFrame(lockkeeper: Lockkeeper, since: Date): Promise<Frame> {
  const [runs, keys, waits, [workers]] = await Promise.all([
    select<{ state: string; many: number }>(
      lockkeeper,
      `select state, sum(runs)::int as many from lockkeeper.states group by state
       union all
       select state, count(*)::int from lockkeeper.runs where ended_at >= $1 group by state`,
      [since],
    ),
    select<Key>(
      lockkeeper,
      `select key, "limit", in_use::float8, capacity::float8 from lockkeeper.keys where capacity is not null`,
    ),
    // By lane, so that a long queue costs nothing.
    select<Wait>(
      lockkeeper,
      `select job, counts, keys, sum(waiting)::int as many, min(first_run_id)::text as first_run_id,
         min(since) as since, lockkeeper.now() as now
       from lockkeeper.lanes where keys <> '{}' group by job, counts, keys order by many desc, job, counts`,
    ),
    select<Frame['workers']>(
      lockkeeper,
      `select count(*)::int as live, coalesce(sum(running), 0)::int as running, coalesce(sum(room), 0)::int as room
       from lockkeeper.workers where live`,
    ),
  ]);
  return {
    runs: Object.fromEntries(runs.map(({ state, many }) => [state, many])),
    keys,
    waits,
    workers: workers ?? { live: 0, running: 0, room: 0 },
  };
}

const states = ['queued', 'admitted', 'running', 'succeeded', 'failed', 'canceled'];
const mostWaits = 6;

/** The whole picture, no larger than the terminal. */
export function frameText(
  io: Io,
  frame: Frame,
  { columns, rows }: { columns: number; rows: number },
): string {
  const { dim, bold } = coloursOf(io);
  const waits = waitsText(io, frame, columns);
  const limits = limitsText(io, frame, columns, Math.max(3, rows - 7 - waits.length));
  return [
    `${bold('lockkeeper dev')}   ${runsText(io, frame)}   ${dim('·')}   ${workersText(frame)}`,
    ...(limits.length === 0 ? [] : ['', ...limits]),
    ...(waits.length === 0 ? [] : ['', ...waits]),
    '',
    dim('Ctrl-C ends it · in another terminal: lockkeeper submit JOB, why RUN, runs list'),
  ].join('\n');
}

function runsText(io: Io, { runs }: Frame): string {
  const colours = coloursOf(io);
  const present = states.filter((state) => runs[state]);
  if (present.length === 0) return 'no run';
  return present.map((state) => `${runs[state]} ${paintState(state, colours)}`).join(', ');
}

function workersText({ workers: { live, running, room } }: Frame): string {
  if (live === 0) return 'no worker';
  return `${live} ${live === 1 ? 'worker' : 'workers'}: ${running} of ${room} steps`;
}

type LimitLine = Key & { waiting: number };

/** The keys inside runs come and go with their runs, so they share a line with the fullest. */
function limitLines({ keys, waits }: Frame): LimitLine[] {
  const waiting = (key: string) =>
    waits.filter((wait) => wait.keys.includes(key)).reduce((sum, wait) => sum + wait.many, 0);
  const byLine = Map.groupBy(keys, ({ key, limit }) => (limit.startsWith('executor') ? limit : key));
  const use = ({ in_use, capacity }: Key) => (capacity === 0 ? 2 : in_use / capacity);
  return [...byLine].flatMap(([name, some]) => {
    const [fullest] = some.toSorted((a, b) => use(b) - use(a));
    const sum = some.reduce((total, { key }) => total + waiting(key), 0);
    if (!fullest) return [];
    return [{ ...fullest, key: some.length > 1 ? `${name}{each run}` : fullest.key, waiting: sum }];
  });
}

/** Where not all fit, those that nobody waits for give way first, the emptiest before the others. */
function limitsText(io: Io, frame: Frame, width: number, room: number): string[] {
  const all = limitLines(frame);
  if (all.length === 0) return [];
  const weight = ({ waiting, in_use }: LimitLine) => waiting * 1_000 + in_use;
  const kept = new Set(all.toSorted((a, b) => weight(b) - weight(a)).slice(0, room));
  const shown = all.filter((each) => kept.has(each)).toSorted((a, b) => (a.key < b.key ? -1 : 1));
  const columns: Column<LimitLine>[] = [
    { head: 'LIMIT', of: ({ key }) => shortened(key, Math.max(16, width - 45)) },
    { head: 'IN USE', of: barOf, paint: paintBar },
    { head: 'WAITING', of: ({ waiting }) => waiting || null, right: true },
  ];
  const left = all.length - shown.length;
  return [
    ...table(io, columns, shown).split('\n'),
    ...(left > 0 ? [coloursOf(io).dim(`… and ${left} more`)] : []),
  ];
}

const barWidth = 10;
const filled = ({ in_use, capacity }: Key) =>
  capacity === 0 ? 0 : Math.min(barWidth, Math.ceil((in_use / capacity) * barWidth));

function barOf(key: Key): string {
  const used = filled(key);
  const numbers = key.capacity === 0 ? 'paused' : `${key.in_use} of ${key.capacity}`;
  return `${'█'.repeat(used)}${'░'.repeat(barWidth - used)} ${numbers}`;
}

const paintBar = (text: string, { green, yellow, red, dim }: Colours, key: LimitLine): string => {
  const used = filled(key);
  const paint = key.in_use > key.capacity ? red : key.in_use === key.capacity ? yellow : green;
  return `${paint(text.slice(0, used))}${dim(text.slice(used, barWidth))}${text.slice(barWidth)}`;
};

/** The end of a key tells it from others, so a long one is cut inside. */
function shortened(text: string, length: number): string {
  if (text.length <= length) return text;
  const end = Math.floor(length / 2);
  return `${text.slice(0, length - end - 1)}…${text.slice(-end)}`;
}

function waitsText(io: Io, { waits }: Frame, width: number): string[] {
  if (waits.length === 0) return [];
  const columns: Column<Wait>[] = [
    {
      head: 'WAITS',
      of: ({ job, many, counts }) => `${many} ${many === 1 ? counts : `${counts}s`} of ${cut(job, 24)}`,
    },
    { head: 'LONGEST', of: waited, right: true },
    { head: 'NEXT', of: ({ first_run_id }) => first_run_id, right: true },
    { head: 'FOR', of: (wait) => cut(reasonOf(wait), Math.max(16, width - 60)) },
  ];
  const left = waits.length - mostWaits;
  return [
    ...table(io, columns, waits.slice(0, mostWaits)).split('\n'),
    ...(left > 0 ? [coloursOf(io).dim(`… and ${left} more; see \`lockkeeper why RUN\``)] : []),
  ];
}

const waited = ({ since, now }: Wait): string => shownDuration(since ? now.getTime() - since.getTime() : 0);

const reasonOf = ({ keys }: Wait): string =>
  keys.map((key) => (key === 'workers' ? 'a worker that serves it' : key)).join(', ');
