/** The same backlog in pg-boss: a group of which one job may run, one that does, and jobs of it that wait. */

import { PgBoss } from 'pg-boss';
import type { BenchServer } from '../types.ts';
import { nowNs } from './marks.ts';
import { expectNumber } from './sql.ts';

const queue = 'bench';
const blockedGroup = { id: 'gate' };
const jobsInOneInsert = 10_000;
const one = { batchSize: 1, groupConcurrency: 1 };

/** Works on a queue in a new database in which one job of the group runs and nobody waits yet. */
export async function withPgBossBacklog<T>(
  server: BenchServer,
  purpose: string,
  use: (backlog: PgBossBacklog) => Promise<T>,
): Promise<T> {
  const { url, drop } = await server.database(purpose);
  const boss = new PgBoss({ connectionString: url, schedule: false, supervise: false });
  boss.on('error', (error) => console.error(`pg-boss: ${error.message}`));
  try {
    await boss.start();
    await boss.createQueue(queue);
    const backlog = new PgBossBacklog(boss);
    await backlog.hold();
    const answer = await use(backlog);
    await backlog.check();
    return answer;
  } finally {
    await boss.stop({ graceful: false });
    await drop();
  }
}

/** Jobs that wait, and one that holds the group. No polling interval is in what is measured. */
export class PgBossBacklog {
  readonly #boss: PgBoss;
  #holder = '';
  #blocked = 0;

  constructor(boss: PgBoss) {
    this.#boss = boss;
  }

  /** Has a job take the group's one place. */
  async hold(): Promise<void> {
    await this.#sendBlocked();
    this.#holder = await this.#fetch();
  }

  /** Inserts jobs that the group blocks, until there are so many. Nothing is to be done for them then: 0 ms. */
  async fill(upTo: number): Promise<number> {
    while (this.#blocked < upTo) {
      const length = Math.min(jobsInOneInsert, upTo - this.#blocked);
      await this.#boss.insert(
        queue,
        Array.from({ length }, () => ({ data: {}, group: blockedGroup })),
      );
      this.#blocked += length;
    }
    return 0;
  }

  /** Milliseconds to send a job that nothing blocks, and to fetch it. */
  async startOfFree(): Promise<number> {
    const sent = nowNs();
    const id = await this.#boss.send(queue, {});
    const fetched = await this.#fetch();
    const ms = (nowNs() - sent) / 1e6;
    if (fetched !== id) throw new Error('pg-boss fetched another job than the free one.');
    await this.#boss.complete(queue, fetched);
    return ms;
  }

  /** Milliseconds to complete the job that holds the group, and to fetch its successor. */
  async handOver(): Promise<number> {
    await this.#sendBlocked();
    const released = nowNs();
    await this.#boss.complete(queue, this.#holder);
    this.#holder = await this.#fetch();
    return (nowNs() - released) / 1e6;
  }

  /** Throws unless exactly the blocked wait. */
  async check(): Promise<void> {
    const execute = (text: string, values: unknown[]) => this.#boss.getDb().executeSql(text, values);
    const waiting = `select count(*) as n from pgboss.job where name = '${queue}' and state = 'created'`;
    await expectNumber({ execute }, 'jobs that wait in pg-boss', waiting, this.#blocked);
  }

  #sendBlocked() {
    return this.#boss.send(queue, {}, { group: blockedGroup });
  }

  async #fetch(): Promise<string> {
    const [found] = await this.#boss.fetch(queue, one);
    if (!found) throw new Error('pg-boss fetched nothing.');
    return found.id;
  }
}
