/** The Postgres server of the tests, and of the tools that take theirs as the tests do. */

import { fileURLToPath } from 'node:url';
import { embeddedTestServer, type TestServer } from '../../src/testing/server.ts';

export type Server = TestServer;

const maxConnections = 300;

/**
 * The server of TEST_DATABASE_URL (its user needs CREATEDB, nothing more), else with
 * LOCKKEEPER_TEST_POSTGRES=container a container of LOCKKEEPER_TEST_IMAGE (postgres:18), else the embedded one.
 * Shared by all who ask at the same time.
 */
export async function postgresForTools(): Promise<Server> {
  const { TEST_DATABASE_URL: url, LOCKKEEPER_TEST_POSTGRES: kind = 'embedded' } = process.env;
  if (url) return { url, close: async () => {} };
  if (kind === 'container') return startContainer();
  if (kind !== 'embedded' && kind !== '')
    throw new Error(`LOCKKEEPER_TEST_POSTGRES is "${kind}"; allowed are "container" and "embedded".`);
  const folder = fileURLToPath(new URL('../../.lockkeeper/postgres-test', import.meta.url));
  return embeddedTestServer({ folder, maxConnections });
}

async function startContainer(): Promise<Server> {
  const { PostgreSqlContainer } = await import('@testcontainers/postgresql');
  const image = process.env.LOCKKEEPER_TEST_IMAGE || 'postgres:18';
  const command = [
    'postgres',
    '-c',
    `max_connections=${maxConnections}`,
    '-c',
    'fsync=off',
    '-c',
    'full_page_writes=off',
  ];
  const container = await new PostgreSqlContainer(image).withCommand(command).start();
  return {
    url: container.getConnectionUri(),
    close: async () => {
      await container.stop();
    },
  };
}
