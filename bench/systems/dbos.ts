/** DBOS: the items are workflows of one queue, whose concurrency keeps the limits. */

import { randomUUID } from 'node:crypto';
import { DBOS, DBOSClient, type DLogger } from '@dbos-inc/dbos-sdk';
import manifest from '../../package.json' with { type: 'json' };
import type { Item, Limit, System, Template, Work } from '../types.ts';

const application = 'bench';
const queueName = 'bench';
const workflowName = 'item';

/** Only what went wrong is shown: contention between pollers is a warning, and expected. */
const logger: DLogger = {
  debug() {},
  info() {},
  warn() {},
  error: (entry) => console.error(`DBOS: ${entry}`),
};

/** How long `stop` waits for workflows that still run. */
const drainMs = 60_000;

type SetUp = {
  name: string;
  setup: string;
  /** What the queue has beside its limits. */
  polling: { minPollingIntervalMs?: number };
};

const common =
  'One workflow without steps (a step would be one more write); a new database for each run (a copy of one that was migrated); submitted by `DBOSClient.enqueue`, as many at once as the client has connections. ' +
  'Queue with `globalConcurrency` = the limit, or `partitionConcurrency` = the limit with the tenant as the partition key; ' +
  '`workerConcurrency` = the room of the process (or the limit, if less). Docs: typescript/reference/queues, tutorials/queue-tutorial, reference/client.';

const setUps: readonly SetUp[] = [
  { name: 'DBOS', setup: `${common} Polling at its default, 1 s.`, polling: {} },
  {
    name: 'DBOS, poll 10 ms',
    setup: `${common} \`minPollingIntervalMs\` 10.`,
    polling: { minPollingIntervalMs: 10 },
  },
];

/** The limit of the work and the room of a process, in a queue's words. */
function concurrencyOf(limit: Limit, room: number) {
  if (limit.kind === 'key') {
    return { globalConcurrency: limit.capacity, workerConcurrency: Math.min(room, limit.capacity) };
  }
  const partition = limit.kind === 'tenants' ? { partitionConcurrency: limit.capacity } : {};
  return { ...partition, workerConcurrency: room };
}

const client = (url: string) =>
  DBOSClient.create({ systemDatabaseUrl: url, applicationName: application, logger });

/** Before the launch, which looks for queues; so all processes register the same. */
async function registerQueue(url: string, { polling }: SetUp, { limit }: Work, room: number) {
  const registrar = await client(url);
  await registrar.registerQueue(queueName, { ...concurrencyOf(limit, room), ...polling });
  await registrar.destroy();
}

function configure(url: string): void {
  DBOS.setConfig({
    name: application,
    systemDatabaseUrl: url,
    applicationVersion: '1',
    // Processes of one executor id would take each other's workflows for their own, to be recovered.
    executorID: randomUUID(),
    logger,
  });
}

const template: Template = {
  name: 'DBOS',
  async migrate(url) {
    configure(url);
    // `DBOS.migrate` has no logger and prints; a launch does the same in silence.
    await DBOS.launch();
    await DBOS.shutdown();
  },
};

function system(setUp: SetUp): System {
  return {
    name: setUp.name,
    version: manifest.devDependencies['@dbos-inc/dbos-sdk'],
    setup: setUp.setup,
    keeps: ({ kind }) => kind !== 'three',

    template,
    async prepare() {},

    async open(url) {
      const submitter = await client(url);
      const enqueue = (item: Item) =>
        submitter.enqueue(
          { queueName, workflowName, ...(item.tenant && { queuePartitionKey: item.tenant }) },
          item,
        );
      return {
        async submit(items) {
          await Promise.all(items.map(enqueue));
        },
        close: () => submitter.destroy(),
      };
    },

    async work(url, work, room, handler) {
      await registerQueue(url, setUp, work, room);
      configure(url);
      DBOS.registerWorkflow((item: Item) => handler(item), { name: workflowName });
      await DBOS.launch();
      return { stop: () => DBOS.shutdown({ deregister: true, workflowCompletionTimeoutMS: drainMs }) };
    },
  };
}

/** DBOS with each of its set-ups. */
export const systems: readonly System[] = setUps.map(system);
