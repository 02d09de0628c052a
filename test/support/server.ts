/** The Postgres server of the tests, and of the tools that take theirs as the tests do. */

import { fileURLToPath } from 'node:url';
import { startEmbedded } from '../../src/embedded/index.ts';

export type Server = {
  /** A database to connect to in order to create others. */
  url: string;
  close(): Promise<void>;
};

const maxConnections = 300;

/**
 * The server of TEST_DATABASE_URL (its user needs CREATEDB, nothing more), else with
 * LOCKKEEPER_TEST_POSTGRES=container a container, else the embedded one. Shared by all who ask at the same time.
 */
export async function postgresForTools(): Promise<Server> {
  const { TEST_DATABASE_URL: url, LOCKKEEPER_TEST_POSTGRES: kind = 'embedded' } = process.env;
  if (url) return { url, close: async () => {} };
  if (kind === 'container') return startContainer();
  if (kind !== 'embedded' && kind !== '')
    throw new Error(`LOCKKEEPER_TEST_POSTGRES is "${kind}"; allowed are "container" and "embedded".`);
  const folder = fileURLToPath(new URL('../../.lockkeeper/postgres-test', import.meta.url));
  return startEmbedded({ folder, durable: false, maxConnections });
}

async function startContainer(): Promise<Server> {
  const { PostgreSqlContainer } = await import('@testcontainers/postgresql');
  const command = [
    'postgres',
    '-c',
    `max_connections=${maxConnections}`,
    '-c',
    'fsync=off',
    '-c',
    'full_page_writes=off',
  ];
  const container = await new PostgreSqlContainer('postgres:18').withCommand(command).start();
  return {
    url: container.getConnectionUri(),
    close: async () => {
      await container.stop();
    },
  };
}
