/** Where the trial runs: a Postgres as the tests have it, but a durable one where it is ours to start. */

import { fileURLToPath } from 'node:url';
import { type Database, openDatabase } from '../../src/database.ts';
import { startEmbedded } from '../../src/embedded/index.ts';
import { postgresForTools, type Server } from '../../test/support/server.ts';
import { cloneTemplate, createTemplate, dropTemplate } from '../../test/support/template.ts';

/** A migrated database for one part of the trial. */
export type Place = {
  url: string;
  database: Database;
  /** A folder that is free to use. */
  folder: string;
  profile: boolean;
};

export type PlaceOptions = {
  /** Called for the database of each part, before anything runs in it. */
  prepare: (database: Database) => Promise<void>;
  profile: boolean;
};

export const scratch = fileURLToPath(new URL('../../.lockkeeper/trial', import.meta.url));

async function server(): Promise<Server> {
  const { TEST_DATABASE_URL: url, LOCKKEEPER_TEST_POSTGRES: kind = '' } = process.env;
  if (url || (kind !== '' && kind !== 'embedded')) return postgresForTools();
  const folder = fileURLToPath(new URL('../../.lockkeeper/postgres-trial', import.meta.url));
  return startEmbedded({ folder, durable: true, maxConnections: 300 });
}

/** Runs `use` with what gives each part a database of its own; afterwards all of them are dropped. */
export async function withPlaces<T>(
  options: PlaceOptions,
  use: (inPlace: <R>(part: (place: Place) => Promise<R>) => Promise<R>) => Promise<T>,
): Promise<T> {
  const { url, close } = await server();
  try {
    console.log(await describeServer(url));
    const template = await createTemplate({ url });
    try {
      return await use(async (part) => {
        const clone = await cloneTemplate(template);
        const database = openDatabase({ connectionString: clone.url, max: 2, applicationName: 'trial' });
        try {
          await options.prepare(database);
          return await part({ url: clone.url, database, folder: scratch, profile: options.profile });
        } finally {
          await database.close();
          await clone.drop();
        }
      });
    } finally {
      await dropTemplate(template);
    }
  } finally {
    await close();
  }
}

/** One line on the server: speed depends on whether a commit waits for the disk. */
async function describeServer(url: string): Promise<string> {
  const database = openDatabase({ connectionString: url, max: 1 });
  const { rows } = await database.execute(
    `select current_setting('server_version') as version, current_setting('fsync') as fsync,
       current_setting('synchronous_commit') as commit, current_setting('full_page_writes') as pages`,
    [],
  );
  await database.close();
  const { version, fsync, commit, pages } = rows[0] ?? {};
  return `Postgres ${version}, fsync ${fsync}, synchronous_commit ${commit}, full_page_writes ${pages}`;
}

/** What stands in `lockkeeper.violations`, a line each. */
export async function violationsIn(database: Database): Promise<string[]> {
  const { rows } = await database.execute('select violation, detail from lockkeeper.violations', []);
  return rows.map(({ violation, detail }) => `violation: ${violation}: ${detail}`);
}
