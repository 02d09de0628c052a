/** pg-boss: the items are jobs of one queue, and its groups keep the limits. */

import { type JobInsert, PgBoss, type WorkOptions } from 'pg-boss';
import manifest from '../../package.json' with { type: 'json' };
import type { Item, Limit, System, Template, Work } from '../types.ts';

const queue = 'bench';
/** Of policy `singleton`: one job of all is active at most. */
const singletonQueue = 'bench-singleton';

/** Jobs in one `insert`, so that its one parameter stays some megabytes long. */
const jobsInOneInsert = 10_000;

/** What tells the set-ups apart. */
type SetUp = {
  name: string;
  setup: string;
  keeps(limit: Limit): boolean;
  queue: string;
  /** Jobs that a worker fetches, works on at the same time and completes together. */
  batch: number;
  /** A worker that had something to do looks again at once; else after its polling interval. */
  eager: boolean;
};

const workers =
  'submitted by `insert`; workers with `useListenNotify`, `pollingIntervalSeconds` and `notifyPollingIntervalSeconds` 0.5, the least that is allowed. ';
const common =
  `One queue of policy \`standard\` with \`notify\`, ${workers}` +
  'Limits by `groupConcurrency`: one group for all (`group.id` of each job), or one for each tenant. Its docs (api/workers) promise that it is enforced across all nodes, ' +
  'but that a limit may be exceeded for brief moments when several workers fetch at the same time, which is what is seen here: a fetch counts the active jobs of the group and locks only the jobs that it takes. ' +
  'Docs: api/workers (`work`), api/jobs (`insert`), api/constructor.';
const eagerly = 'after each batch `notifyWorker` has the worker fetch again without its polling interval.';

const setUps: readonly SetUp[] = [
  {
    name: 'pg-boss, batch 1',
    setup: `${common} \`batchSize\` 1, \`localConcurrency\` = the room of the process.`,
    keeps: ({ kind }) => ['none', 'key', 'tenants'].includes(kind),
    queue,
    batch: 1,
    eager: false,
  },
  {
    name: 'pg-boss, 4 × batch 10',
    setup:
      `${common} Its best under one limit: \`batchSize\` 10 (or the limit, if less), \`localConcurrency\` = the room of the process ÷ the batch; ` +
      eagerly,
    keeps: ({ kind }) => kind === 'key',
    queue,
    batch: 10,
    eager: true,
  },
  {
    name: 'pg-boss, batch 50',
    setup:
      `${common} \`batchSize\` 50 (or the room of the process, if less), \`localConcurrency\` = the room ÷ the batch; ` +
      eagerly,
    keeps: ({ kind }) => ['none', 'tenants'].includes(kind),
    queue,
    batch: 50,
    eager: true,
  },
  {
    name: 'pg-boss, singleton',
    setup:
      `One queue of policy \`singleton\` with \`notify\`, for a limit of 1: by its docs (api/queues) one job is active at most, which a unique index keeps; ${workers}` +
      `\`batchSize\` 1, one worker in each process; ${eagerly}`,
    keeps: (limit) => limit.kind === 'key' && limit.capacity === 1,
    queue: singletonQueue,
    batch: 1,
    eager: true,
  },
];

function groupOf(item: Item, { kind }: Limit, setUp: SetUp): Pick<JobInsert, 'group'> {
  if (setUp.queue === singletonQueue) return {};
  if (kind === 'key') return { group: { id: 'all' } };
  return kind === 'tenants' ? { group: { id: item.tenant ?? '' } } : {};
}

function optionsOf({ batch, queue: name }: SetUp, { limit }: Work, room: number) {
  const singleton = name === singletonQueue;
  const most = limit.kind === 'key' ? Math.min(room, limit.capacity) : room;
  const batchSize = Math.min(batch, most);
  return {
    batchSize,
    localConcurrency: singleton ? 1 : Math.max(1, Math.floor(room / batch)),
    pollingIntervalSeconds: 0.5,
    notifyPollingIntervalSeconds: 0.5,
    ...(!singleton && 'capacity' in limit && { groupConcurrency: limit.capacity }),
  } satisfies WorkOptions;
}

async function started(url: string, options: { supervise: boolean; useListenNotify: boolean }) {
  const boss = new PgBoss({ connectionString: url, schedule: false, ...options });
  boss.on('error', (error) => console.error(`pg-boss: ${error.message}`));
  await boss.start();
  return boss;
}

const idle = { supervise: false, useListenNotify: false };

const template: Template = {
  name: 'pg-boss',
  async migrate(url) {
    const boss = await started(url, idle);
    await boss.createQueue(queue, { notify: true });
    await boss.createQueue(singletonQueue, { notify: true, policy: 'singleton' });
    await boss.stop();
  },
};

function system(setUp: SetUp): System {
  return {
    name: setUp.name,
    version: manifest.dependencies['pg-boss'],
    setup: setUp.setup,
    keeps: setUp.keeps,

    template,
    async prepare() {},

    async open(url, { limit }) {
      const boss = await started(url, idle);
      return {
        async submit(items) {
          const jobs = items.map((item): JobInsert<Item> => ({ data: item, ...groupOf(item, limit, setUp) }));
          for (let at = 0; at < jobs.length; at += jobsInOneInsert) {
            await boss.insert(setUp.queue, jobs.slice(at, at + jobsInOneInsert));
          }
        },
        close: () => boss.stop(),
      };
    },

    async work(url, work, room, handler) {
      const boss = await started(url, { supervise: true, useListenNotify: true });
      const options = optionsOf(setUp, work, room);
      // Each `work` call is one worker with an id of its own, as `notifyWorker` needs it.
      const { localConcurrency, ...ofOne } = options;
      for (let n = 0; n < localConcurrency; n++) {
        const worker: { id?: string } = {};
        worker.id = await boss.work<Item>(setUp.queue, ofOne, async (jobs) => {
          await Promise.all(jobs.map(({ data }) => handler(data)));
          if (setUp.eager && worker.id) boss.notifyWorker(worker.id);
        });
      }
      return { stop: () => boss.stop() };
    },
  };
}

/** pg-boss with each of its set-ups. */
export const systems: readonly System[] = setUps.map(system);
