/** A database brought to this release by its address, pg-boss's schema with it. */

import { openDatabase } from '../database.ts';
import { type Migrated, type MigrateOptions, migrate } from '../migrate.ts';
import { queueSchema } from '../queue/boss.ts';

/** Brings a database to this release, pg-boss's schema too; any number of processes may call it at once. */
export async function migrateDatabase(options: MigrateDatabaseOptions): Promise<Migrated> {
  const { connectionString, schema, pgBossSchema, upgradePgBoss, ...others } = options;
  const database = openDatabase({ connectionString, schema, max: 3 });
  try {
    const settings = { schema: pgBossSchema, upgrade: upgradePgBoss };
    return await migrate(database, { ...others, alsoMigrate: [queueSchema(database, settings)] });
  } finally {
    await database.close();
  }
}

export type MigrateDatabaseOptions = Pick<MigrateOptions, 'dryRun' | 'again' | 'onProgress'> & {
  connectionString: string;
  schema?: string | undefined;
  pgBossSchema?: string | undefined;
  /** Also upgrade an older pg-boss that is there. */
  upgradePgBoss?: boolean | undefined;
};
