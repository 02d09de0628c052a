/**
 * pg-boss, brought into the database and opened. Nothing outside this folder knows it.
 *
 * What is opened here runs on our pool, opens no connection, starts no timer and does no maintenance (keeper.ts
 * does). On failure: opening throws and leaves nothing behind; migrating may be repeated at any point, by any
 * number of processes at once. A schema of pg-boss that this release does not know is refused, never changed.
 */

import { type Queue as BossQueue, type ConstructorOptions, PgBoss } from 'pg-boss';
import bossPackage from 'pg-boss/package.json' with { type: 'json' };
import { type Database, pgBossDb } from '../database.ts';
import { InvalidInputError, SchemaError } from '../errors.ts';
import { dataSchemaOf, defaultSchema } from '../naming.ts';
import { stillClock } from './still-clock.ts';

/** What the queues of a Lockkeeper are called. */
export type QueueNames = {
  /** The tickets: one pg-boss job for each queued run. Nobody fetches it. */
  tickets: string;
  /** Submissions from any pg-boss client. */
  submit: string;
  /** Submissions that were refused, with the reason. Nobody of ours fetches it. */
  rejected: string;
};

/** Each begins with the schema of its Lockkeeper, so that several can share one pg-boss. */
export const queueNames = (schema: string): QueueNames => ({
  tickets: `${schema}.runs`,
  submit: `${schema}.submit`,
  rejected: `${schema}.rejected`,
});

/** Those of the schema `lockkeeper`. */
export const {
  tickets: ticketQueue,
  submit: submitQueue,
  rejected: rejectedQueue,
} = queueNames(defaultSchema);

/** The schema of pg-boss's that this release works with. */
export const bossSchemaVersion: number = bossPackage.pgboss.schema;

const INT_MAX = 2_147_483_647;

/**
 * A ticket lives as long as its run is queued: kept for 68 years, and what ended is ours to delete. A table of their
 * own (`partition`) keeps their coming and going away from the user's other pg-boss jobs. A full queue is no news.
 */
const ticketOptions = {
  retentionSeconds: INT_MAX,
  deleteAfterSeconds: 0,
  expireInSeconds: 86_400,
  retryLimit: 0,
  warningQueueSize: INT_MAX,
};

const queuesOf = ({ tickets, submit, rejected }: QueueNames): [string, Omit<BossQueue, 'name'>][] => [
  [tickets, { ...ticketOptions, partition: true }],
  [submit, {}],
  [rejected, { retentionSeconds: 30 * 86_400 }],
];

export type QueueSettings = {
  /** The schema of pg-boss (`PGBOSS_SCHEMA`); `pgboss` if left out. Written quoted if it is no plain lower-case name. */
  schema?: string | undefined;
  /** pg-boss warns of this. Ignored if left out. */
  onWarning?: ((message: string, data: object) => void) | undefined;
  /** An error of pg-boss's outside any call of ours. Goes to `onWarning` if left out. */
  onError?: ((error: Error) => void) | undefined;
};

/** pg-boss, open. Opaque outside this folder, and without pg-boss's types in what we publish. */
export type Queue = {
  /** @internal */
  readonly boss: PgBoss;
  /** Of pg-boss. */
  readonly schema: string;
  readonly names: QueueNames;
  /** Closes no connection: the pool is not pg-boss's. */
  close(): Promise<void>;
};

/**
 * Opens pg-boss on the database's pool; a handful of statements, once.
 * @throws {SchemaError} when pg-boss is not installed, older or newer than this release knows.
 */
export async function openQueue(
  database: Pick<Database, 'execute' | 'schema'>,
  settings: QueueSettings = {},
): Promise<Queue> {
  const schema = bossSchema(database, settings);
  const boss = makeBoss(schema, settings, { db: pgBossDb(database.execute), migrate: false });
  const found = await readVersion(boss);
  if (found === 0) {
    throw new SchemaError(`pg-boss is not installed in schema ${schema}.`, {
      hint: 'Run `lockkeeper migrate`, with the same PGBOSS_SCHEMA.',
    });
  }
  refuseOther(found, schema);
  await boss.start();
  const names = queueNames(database.schema);
  return { boss, schema, names, close: () => boss.stop({ close: false, graceful: false }) };
}

/** pg-boss lives beside Lockkeeper: what is in a schema of ours, `migrate` replaces. */
function bossSchema(database: Pick<Database, 'schema'>, { schema = 'pgboss' }: QueueSettings): string {
  const ours = [defaultSchema, database.schema].flatMap((each) => [each, dataSchemaOf(each)]);
  if (!ours.includes(schema)) return schema;
  throw new InvalidInputError(`The schema ${schema} is Lockkeeper's own; pg-boss cannot live there.`, {
    hint: 'Set another one in PGBOSS_SCHEMA (the option `pgBossSchema`), or none for `pgboss`.',
  });
}

/**
 * Creates those of our queues that somebody deleted in pg-boss; answers their names.
 * @internal
 */
export async function mendQueues({ boss, names }: Queue): Promise<string[]> {
  const there = (await boss.getQueues(Object.values(names))).map(({ name }) => name);
  const missing = queuesOf(names).filter(([name]) => !there.includes(name));
  for (const [name, options] of missing) await boss.createQueue(name, options);
  return missing.map(([name]) => name);
}

/**
 * pg-boss's schema as `migrate` wants it: installs it, or with `upgrade` brings an older one to ours, and creates the
 * three queues where they are missing. Its indexes that take long are built afterwards, by the keeper.
 */
export function queueSchema(
  database: Pick<Database, 'execute' | 'schema'>,
  settings: QueueSettings & { upgrade?: boolean | undefined } = {},
): { version: string; migrate(): Promise<void> } {
  const schema = bossSchema(database, settings);
  const names = queueNames(database.schema);
  const migrate = async () => {
    const db = pgBossDb(database.execute);
    const older = makeBoss(schema, settings, { db, migrate: true });
    const found = await readVersion(older);
    if (found !== 0) refuseOther(found, schema, settings.upgrade);
    if (found !== bossSchemaVersion) await bring(older);
    const boss = makeBoss(schema, settings, { db, migrate: false });
    await boss.start();
    try {
      for (const [name, options] of queuesOf(names)) await boss.createQueue(name, options);
      await boss.updateQueue(names.tickets, ticketOptions);
    } finally {
      await boss.stop({ close: false });
    }
  };
  return { version: `pg-boss ${bossPackage.version} in ${schema}`, migrate };
}

/** Stopped at once: the index builds that begin then would wait for the transaction of the migration around this. */
async function bring(boss: PgBoss): Promise<void> {
  try {
    await boss.start();
  } catch (error) {
    throw new SchemaError(`pg-boss: ${(error as Error).message}`, { cause: error });
  } finally {
    await boss.stop({ close: false, graceful: false });
  }
}

/**
 * A PgBoss with the settings common to all of ours; its events go to the settings' listeners.
 * @internal
 */
export function makeBoss(schema: string, settings: QueueSettings, options: ConstructorOptions): PgBoss {
  const boss = new PgBoss({
    schema,
    supervise: false,
    schedule: false,
    registerInstance: false,
    openTelemetry: { enabled: false },
    clock: stillClock(),
    ...options,
  });
  const onWarning = settings.onWarning ?? (() => undefined);
  const onError = settings.onError ?? ((error: Error) => onWarning(error.message, { error }));
  boss.on('warning', ({ message, data }) => onWarning(message, data));
  boss.on('error', onError);
  return boss;
}

/**
 * The version of pg-boss's schema; 0 when there is none.
 * @internal
 */
export async function readVersion(boss: PgBoss): Promise<number> {
  if (!(await boss.isInstalled())) return 0;
  return (await boss.schemaVersion()) ?? 0;
}

/** @throws {SchemaError} unless the version is ours, or older and to be upgraded. */
export function refuseOther(found: number, schema: string, upgrade = false): void {
  const ours = bossSchemaVersion;
  if (found === ours || (upgrade && found < ours)) return;
  const what = `pg-boss's schema ${schema} has version ${found}; this Lockkeeper (pg-boss ${bossPackage.version}) works with version ${ours}.`;
  if (found > ours) {
    throw new SchemaError(what, {
      hint: 'Install the release of lockkeeper that knows the newer one, or give Lockkeeper a pg-boss of its own: another PGBOSS_SCHEMA.',
    });
  }
  throw new SchemaError(what, {
    hint: 'Every program that uses this pg-boss must work with the newer schema. Then run `lockkeeper migrate --upgrade-pg-boss`; or give Lockkeeper a pg-boss of its own: another PGBOSS_SCHEMA.',
  });
}
