/** The server: its version and settings, its clock, and who keeps old rows from being cleared away. */

import { monotonicMs, wallClockMs } from '../../wake.ts';
import { shownDuration } from '../text.ts';
import { type Finding, ok, one, type Patient, warn } from './finding.ts';

const oldest = 15;
const newest = 18;

export async function checkVersion({ database }: Patient): Promise<Finding> {
  const { number, name } = await one<{ number: number; name: string }>(
    database,
    `select current_setting('server_version_num')::int as number, current_setting('server_version') as name`,
  );
  const major = Math.floor(number / 10_000);
  const message = `Postgres ${name}`;
  if (major < oldest)
    return {
      check: 'postgres',
      status: 'fail',
      message,
      hint: `Lockkeeper needs Postgres ${oldest} to ${newest}.`,
    };
  if (major > newest)
    return warn(
      'postgres',
      message,
      `This release was tested with Postgres ${oldest} to ${newest}, not with this one.`,
    );
  return ok('postgres', message);
}

/** Of a session as it begins: Lockkeeper's own connections set what they need. */
export async function checkIsolation({ database }: Patient): Promise<Finding> {
  const { level, role } = await one<{ level: string; role: string }>(
    database,
    `select reset_val as level, quote_ident(current_user) as role from pg_catalog.pg_settings
     where name = 'default_transaction_isolation'`,
  );
  if (level === 'read committed') return ok('isolation', 'transactions begin as read committed');
  return warn(
    'isolation',
    `transactions of this role begin as ${level}, where the functions refuse to work (LK001)`,
    `alter role ${role} set default_transaction_isolation = 'read committed'. Direct connections of Lockkeeper set it themselves; SQL of your own and PgBouncer do not.`,
  );
}

const mostApartMs = 1_000;

/** Decisions are made by the server's clock alone; people compare its times with those of their own machine. */
export async function checkClock({ database }: Patient): Promise<Finding> {
  const began = monotonicMs();
  const before = wallClockMs();
  const { now } = await one<{ now: Date }>(database, 'select pg_catalog.clock_timestamp() as now');
  const tookMs = monotonicMs() - began;
  const apartMs = Math.max(0, Math.abs(now.getTime() - (before + tookMs / 2)) - tookMs / 2);
  if (apartMs <= mostApartMs) return ok('clock', 'the server and this process have the same time');
  return warn(
    'clock',
    `the server's clock and that of this process are ${(apartMs / 1_000).toFixed(1)} s apart`,
    'Lockkeeper goes by the server alone, so nothing breaks; but times in logs and in the database do not compare. Let both keep time (NTP).',
  );
}

const crowded = 0.8;

export async function checkConnections({ database }: Patient): Promise<Finding> {
  const { most, used, locks } = await one<{ most: number; used: number; locks: number }>(
    database,
    `select current_setting('max_connections')::int as most,
       current_setting('max_locks_per_transaction')::int
         * (current_setting('max_connections')::int + current_setting('max_prepared_transactions')::int) as locks,
       (select sum(numbackends)::int from pg_catalog.pg_stat_database) as used`,
  );
  const message = `${used} of ${most} connections are used; the lock table holds ${locks} locks`;
  if (used > most * crowded)
    return warn(
      'connections',
      message,
      'Raise max_connections, or put PgBouncer between. A worker needs its pool and two connections more.',
    );
  if (locks < 64 * Math.min(most, 100))
    return warn(
      'connections',
      message,
      'Lockkeeper holds up to 2,048 advisory locks in all: set max_locks_per_transaction to 64 or more.',
    );
  return ok('connections', message);
}

/** What Lockkeeper relies on and somebody may have turned off. */
export async function checkSettings({ database }: Patient): Promise<Finding> {
  const { rows } = await database.execute(
    `select name from pg_catalog.pg_settings
     where name in ('autovacuum', 'track_counts', 'fsync', 'full_page_writes') and setting = 'off' order by name`,
    [],
  );
  if (rows.length === 0) return ok('settings', 'autovacuum works, and what is committed stays');
  const off = rows.map(({ name }) => String(name));
  return warn(
    'settings',
    `off: ${off.join(', ')}`,
    off.some((name) => /vacuum|track/.test(name))
      ? "Turn them on: without autovacuum Lockkeeper's hot tables grow without end."
      : 'Turn them on unless this database is for tests: a crash of the machine can break it.',
  );
}

type Holder = { what: string; age: number; since: Date | null; now: Date };
const longMs = 300_000;
const manyTransactions = 100_000;

/**
 * Whoever holds an old snapshot keeps dead rows of every table from being cleared away, and Lockkeeper's hot tables
 * change thousands of times a second.
 */
export async function checkSnapshots({ database }: Patient): Promise<Finding> {
  const { rows } = await database.execute(
    `select format('process %s (%s, user %s%s), %s', pid, coalesce(nullif(application_name, ''), backend_type), coalesce(usename, '-'),
              coalesce(' from ' || host(client_addr), ''), coalesce(state, backend_type)) as what,
            greatest(age(backend_xmin), age(backend_xid))::int as age, xact_start as since, clock_timestamp() as now
     from pg_catalog.pg_stat_activity where coalesce(backend_xmin, backend_xid) is not null and pid <> pg_backend_pid()
     union all
     select format('prepared transaction %L of %s in database %s', gid, owner, database), age(transaction)::int,
            prepared, clock_timestamp() from pg_catalog.pg_prepared_xacts
     union all
     select format('replication slot %s%s', slot_name, case when active then '' else ', which nobody uses' end),
            greatest(age(xmin), age(catalog_xmin))::int, null, clock_timestamp()
     from pg_catalog.pg_replication_slots where xmin is not null or catalog_xmin is not null
     order by age desc`,
    [],
  );
  const holders = rows as Holder[];
  const long = holders.filter(isLong);
  if (long.length > 0)
    return warn(
      'snapshots',
      `old snapshots keep dead rows in every table: ${long.slice(0, 3).map(saidHolder).join('; ')}${long.length > 3 ? `; and ${long.length - 3} more` : ''}`,
      'End them (commit, pg_terminate_backend, rollback prepared, pg_drop_replication_slot); idle_in_transaction_session_timeout ends what is left lying.',
    );
  const [oldestHolder] = holders;
  return ok(
    'snapshots',
    `nobody keeps dead rows for longer than ${longMs / 60_000} minutes${oldestHolder ? `; the oldest is ${saidHolder(oldestHolder)}` : ''}${(await seesAll({ database })) ? '' : ' (this role sees only its own sessions: grant it pg_read_all_stats)'}`,
  );
}

// A slot has no time, only how many transactions it is behind.
const isLong = ({ age, since, now }: Holder) =>
  since === null ? age > manyTransactions : now.getTime() - since.getTime() > longMs;

const saidHolder = ({ what, age, since, now }: Holder) =>
  `${what}, ${since === null ? '' : `for ${shownDuration(now.getTime() - since.getTime())}, `}${age} transactions behind`;

async function seesAll({ database }: Pick<Patient, 'database'>): Promise<boolean> {
  const { sees } = await one<{ sees: boolean }>(
    database,
    `select pg_catalog.pg_has_role('pg_read_all_stats', 'usage') as sees`,
  );
  return sees;
}
