/** The jobs: one for each kind of data file. Each extracts a file, loads it into Postgres and summarises it there. */

import { setTimeout as pause } from 'node:timers/promises';
import { z } from 'zod';
import { type AnyJob, type HandlerContext, job } from '../src/index.ts';
import type { Family } from './data.ts';
import type { Observer } from './observer.ts';
import {
  type AfterExtract,
  countTables,
  describeColumns,
  extractFile,
  type Input,
  loadRows,
  measureRanges,
  type Place,
  type Which,
} from './work.ts';

/** Each step also waits so long, so that people can watch the limits at work. */
const paceMs = 800;

const input = z.object({ file: z.string() });

export type JobParts = Place & { observer: Observer };
type Handlers = ReturnType<typeof createHandlers>;

export function createJobs(parts: JobParts): AnyJob[] {
  const handlers = createHandlers(parts);
  const families: Family[] = ['tables', 'records', 'series', 'graphs', 'grids'];
  return [flights(handlers), maps(handlers), ...families.map((family) => simple(family, handlers))];
}

/** A load takes one slot of the warehouse; the three summaries run side by side. */
function simple(family: Family, { extract, load, count, columns, ranges }: Handlers) {
  const loaded = { after: ['extract', 'load'], pool: 'reports' } as const;
  return job(family, { input })
    .step('extract', { pool: 'disk' }, extract)
    .step('load', { after: ['extract'], pool: 'warehouse' }, load({}))
    .step('count', loaded, count)
    .step('columns', loaded, columns)
    .step('ranges', loaded, ranges);
}

/** The largest files are loaded in four parts, each of which takes two slots of the warehouse. */
function flights({ extract, load, count, columns, ranges }: Handlers) {
  const big = { after: ['extract'], pool: { warehouse: 2 }, tags: { size: 'big' } } as const;
  const loaded = { after: ['extract', 'load_1', 'load_2', 'load_3', 'load_4'], pool: 'reports' } as const;
  return job('flights', { input })
    .step('extract', { pool: 'disk' }, extract)
    .step('load_1', big, load({ part: 0, of: 4 }))
    .step('load_2', big, load({ part: 1, of: 4 }))
    .step('load_3', big, load({ part: 2, of: 4 }))
    .step('load_4', big, load({ part: 3, of: 4 }))
    .step('count', loaded, count)
    .step('columns', loaded, columns)
    .step('ranges', loaded, ranges);
}

/** Its own executor block replaces that of lockkeeper.yaml: one step of a run at a time. */
function maps({ extract, load, count, columns }: Handlers) {
  const loaded = { after: ['extract', 'load_shapes', 'load_arcs'], pool: 'reports' } as const;
  return job('maps', { input, executor: { maxConcurrent: 1 } })
    .step('extract', { pool: 'disk' }, extract)
    .step('load_shapes', { after: ['extract'], pool: 'warehouse' }, load({ table: 0 }))
    .step('load_arcs', { after: ['extract'], pool: 'warehouse' }, load({ table: 1 }))
    .step('count', loaded, count)
    .step('columns', loaded, columns);
}

/** The handlers, each between two marks of the observer. */
function createHandlers({ observer, ...place }: JobParts) {
  const watched =
    <C extends HandlerContext<Input, object>, T>(work: (context: C) => Promise<T>) =>
    (context: C): Promise<T> =>
      observer.watch(context.run.id, context.step, async () => {
        await pause(paceMs, undefined, { signal: context.signal });
        return work(context);
      });
  return {
    extract: watched((context: HandlerContext<Input>) => extractFile(place, context)),
    load: (which: Which) => watched((context: AfterExtract) => loadRows(place, context, which)),
    count: watched((context: AfterExtract) => countTables(place, context)),
    columns: watched((context: AfterExtract) => describeColumns(place, context)),
    ranges: watched((context: AfterExtract) => measureRanges(place, context)),
  };
}
