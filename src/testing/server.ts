/** The Postgres server on which the test kit makes its databases. */

import { startEmbedded } from '../embedded/index.ts';

export type TestServer = {
  /** A database to connect to in order to create others. */
  url: string;
  close(): Promise<void>;
};

export type EmbeddedTestServer = { folder?: string; maxConnections?: number };

/** The server of this address, else of TEST_DATABASE_URL, else of DATABASE_URL, else the embedded one. */
export async function findTestServer(url?: string): Promise<TestServer> {
  const { TEST_DATABASE_URL, DATABASE_URL } = process.env;
  const given = url || TEST_DATABASE_URL || DATABASE_URL;
  return given ? { url: given, close: async () => undefined } : embeddedTestServer();
}

/** An embedded Postgres for tests: fast, and its data of no value. Shared by all who ask at the same time. */
export function embeddedTestServer(options: EmbeddedTestServer = {}): Promise<TestServer> {
  const { folder = '.lockkeeper/postgres-test', maxConnections = 300 } = options;
  return startEmbedded({ folder, maxConnections, durable: false });
}
