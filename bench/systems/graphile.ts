/** graphile-worker: the items are jobs of one task; what may only be done one at a time is in one named queue. */

import { Logger, makeWorkerUtils, run } from 'graphile-worker';
import manifest from '../../package.json' with { type: 'json' };
import type { Item, Limit, System, Template } from '../types.ts';

declare global {
  namespace GraphileWorker {
    interface Tasks {
      bench: Item;
    }
  }
}

/** Jobs in one `addJobs`, so that its one parameter stays some megabytes long. */
const jobsInOneCall = 10_000;

/** Only what went wrong is shown. */
const logger = new Logger(() => (level, message) => {
  if (level === 'error') console.error(`graphile-worker: ${message}`);
});

/** One at a time is all that a named queue can do. */
const isSerial = (limit: Limit): boolean => limit.kind === 'key' && limit.capacity === 1;

type SetUp = {
  name: string;
  setup: string;
  keeps(limit: Limit): boolean;
  /** What a preset has beside the connection and the room. */
  batching(room: number): Partial<GraphileConfig.WorkerOptions>;
};

const common =
  'One task; jobs added by `addJobs`; `concurrentJobs` = the room of the process, `maxPoolSize` = the greater of 10 and the room + 2 but at most 20, ' +
  'its own LISTEN, `pollInterval` 2,000 (default). Docs: docs/performance, docs/config, docs/tasks (`queueName`).';

const setUps: readonly SetUp[] = [
  {
    name: 'graphile-worker',
    setup:
      `${common} A limit of 1 is a named queue, with \`concurrentJobs\` 1 and \`maxPoolSize\` 2, the least that is allowed: one connection listens, and on the other the ` +
      'completion of a job is sent before the search for the next one. With more connections that search overtakes the completion, finds the queue still locked, and the process looks again only after `pollInterval` (nothing notifies of a queue that is free again): ' +
      'one or two jobs a second were seen so. It has no other limits. `completeJobBatchDelay` does not help, and a local queue does not keep the order.',
    keeps: (limit) => limit.kind === 'none' || isSerial(limit),
    batching: () => ({}),
  },
  {
    name: 'graphile-worker, local queue',
    setup: `${common} As its page on performance was measured: \`localQueue.size\` 500, \`completeJobBatchDelay\` 0, \`failJobBatchDelay\` 0.`,
    keeps: ({ kind }) => kind === 'none',
    batching: () => ({ localQueue: { size: 500 }, completeJobBatchDelay: 0, failJobBatchDelay: 0 }),
  },
];

/** Completion and search follow each other on the one connection that does not listen. */
const serially = { concurrentJobs: 1, maxPoolSize: 2 };

const connections = (room: number): number => Math.min(20, Math.max(10, room + 2));

const template: Template = {
  name: 'graphile-worker',
  async migrate(url) {
    const utils = await makeWorkerUtils({ connectionString: url, logger });
    await utils.migrate();
    await utils.release();
  },
};

function system({ name, setup, keeps, batching }: SetUp): System {
  return {
    name,
    version: manifest.devDependencies['graphile-worker'],
    setup,
    keeps,

    template,
    async prepare() {},

    async open(url, { limit }) {
      const utils = await makeWorkerUtils({ connectionString: url, logger });
      const serial = isSerial(limit) ? { queueName: 'serial' } : {};
      return {
        async submit(items) {
          const jobs = items.map((item) => ({ identifier: 'bench', payload: item, ...serial }));
          for (let at = 0; at < jobs.length; at += jobsInOneCall) {
            await utils.addJobs(jobs.slice(at, at + jobsInOneCall));
          }
        },
        close: async () => utils.release(),
      };
    },

    async work(url, { limit }, room, handler) {
      const worker = {
        connectionString: url,
        ...(isSerial(limit) ? serially : { concurrentJobs: room, maxPoolSize: connections(room) }),
        logger,
        ...batching(room),
      };
      const runner = await run({
        preset: { worker },
        noHandleSignals: true,
        parsedCronItems: [],
        taskList: { bench: (item) => handler(item) },
      });
      return { stop: () => runner.stop() };
    },
  };
}

/** graphile-worker with each of its set-ups. */
export const systems: readonly System[] = setUps.map(system);
