/**
 * Takes Lockkeeper out of a database again: its two schemas with all that is in them, and its three queues in pg-boss.
 * One transaction under the lock of `migrate`, so that a failure leaves everything as it was. What stands elsewhere and
 * uses something of ours (a view of the user's, a foreign key) is never dropped along with it: it is named, and nothing
 * is done.
 */

import { type Database, type Query, transaction } from '../database.ts';
import { ConflictError } from '../errors.ts';
import { configurationLock, migrationLock } from '../migrate.ts';
import { dataSchemaOf, lockNumber } from '../naming.ts';
import { queueNames } from '../queue/boss.ts';
import { type BossLeft, findQueues, removeQueues } from '../queue/remove.ts';

export type UninstallOptions = {
  /** The schema of pg-boss, written as in SQL; `pgboss` if left out. */
  pgBossSchema?: string | undefined;
  /** Also drop pg-boss's schema, if it has no queue of anybody else. */
  pgBoss?: boolean | undefined;
  /** Even while workers live; what they run is lost. */
  force?: boolean | undefined;
  /** Only say what would be done. */
  dryRun?: boolean | undefined;
  /** Told before each part of the work: `done` parts of `of` are. */
  onProgress?: ((part: string, done: number, of: number) => void) | undefined;
};

export type Uninstalled = {
  /** The schemas that were dropped (with `dryRun`: would be). */
  schemas: string[];
  /** The queues that were removed. */
  queues: string[];
  /** The queues of others in the same pg-boss, which stay. */
  otherQueues: string[];
  pgBoss: 'absent' | 'kept' | 'dropped';
  /** Workers that live. */
  liveWorkers: string[];
};

/**
 * @throws {ConflictError} if workers live (without `force`), if something of others uses what is ours, or if pg-boss
 * is to go and is not empty.
 */
export function uninstall(database: Database, options: UninstallOptions = {}): Promise<Uninstalled> {
  const { schema } = database;
  const { pgBossSchema = 'pgboss', onProgress = () => {} } = options;
  return transaction(database, async (query) => {
    await query(`set local lock_timeout = '10s'; set local statement_timeout = 0;
      set local client_min_messages = warning; set local search_path = pg_catalog`);
    for (const lock of [migrationLock, configurationLock])
      await query('select pg_advisory_xact_lock($1)', [lockNumber(schema, lock)]);
    const schemas = await schemasOf(query, schema);
    const boss = await findQueues(query, pgBossSchema, queueNames(schema));
    const liveWorkers = await workersOf(query, schema);
    const drops = options.pgBoss === true && boss.there;
    refuse({ boss, liveWorkers, drops, options });
    await refuseUsed(query, schemas);
    const parts = [...boss.queues, ...schemas, ...(drops ? [pgBossSchema] : [])];
    const next = (i: number) => onProgress(parts[i] ?? '', i, parts.length);
    if (options.dryRun !== true) {
      for (const [i, queue] of boss.queues.entries()) {
        next(i);
        await removeQueues(query, pgBossSchema, [queue]);
      }
      for (const [i, name] of schemas.entries()) {
        next(boss.queues.length + i);
        await query(`drop schema "${name}" cascade`);
      }
      if (drops) await query(`drop schema ${pgBossSchema} cascade`);
    }
    const pgBoss = drops ? 'dropped' : boss.there ? 'kept' : 'absent';
    return { schemas, queues: boss.queues, otherQueues: boss.others, pgBoss, liveWorkers };
  });
}

/** Those that are there, if they are a Lockkeeper's at all. */
async function schemasOf(query: Query, schema: string): Promise<string[]> {
  const { rows } = await query(
    `select n.nspname as name from pg_namespace n where n.nspname = any ($1)
       and exists (select from pg_class c join pg_namespace d on d.oid = c.relnamespace
                   where d.nspname = $2 and c.relname = 'schema_version') order by 1`,
    [[schema, dataSchemaOf(schema)], dataSchemaOf(schema)],
  );
  return rows.map(({ name }) => String(name));
}

async function workersOf(query: Query, schema: string): Promise<string[]> {
  const exists = await query('select to_regclass($1) is not null as yes', [`"${schema}".workers`]);
  if (!exists.rows[0]?.yes) return [];
  const { rows } = await query(`select worker from "${schema}".workers where live order by worker`);
  return rows.map(({ worker }) => String(worker));
}

type Found = { boss: BossLeft; liveWorkers: string[]; drops: boolean; options: UninstallOptions };

function refuse({ boss, liveWorkers, drops, options }: Found): void {
  if (liveWorkers.length > 0 && options.force !== true) {
    const named = liveWorkers.slice(0, 5).join(', ');
    throw new ConflictError(
      `${liveWorkers.length} ${liveWorkers.length === 1 ? 'worker lives' : 'workers live'}: ${named}${liveWorkers.length > 5 ? ' …' : ''}.`,
      { hint: 'Stop them first (SIGTERM drains them), or force it (--force): what they run is lost.' },
    );
  }
  if (drops && boss.others.length > 0) {
    throw new ConflictError(
      `pg-boss has queues of others: ${boss.others.slice(0, 5).join(', ')}${boss.others.length > 5 ? ' …' : ''}.`,
      { hint: 'Leave --pg-boss out: then only the queues of Lockkeeper go.' },
    );
  }
}

/** What depends on something of ours, and stands elsewhere; partitions and indexes of ours stand with us. */
const used = `
  with ours as (
    select oid from pg_namespace where nspname = any ($1)
  ), objects as (
    select 'pg_class'::regclass as class, oid from pg_class where relnamespace in (select oid from ours)
    union all select 'pg_proc'::regclass, oid from pg_proc where pronamespace in (select oid from ours)
    union all select 'pg_type'::regclass, oid from pg_type where typnamespace in (select oid from ours)
  )
  select distinct coalesce(pg_describe_object('pg_class'::regclass, c.oid, 0), pg_describe_object(d.classid, d.objid, d.objsubid)) as name
  from pg_depend d
  join objects o on o.class = d.refclassid and o.oid = d.refobjid
  left join pg_rewrite r on d.classid = 'pg_rewrite'::regclass and r.oid = d.objid
  left join pg_constraint k on d.classid = 'pg_constraint'::regclass and k.oid = d.objid
  left join pg_attrdef e on d.classid = 'pg_attrdef'::regclass and e.oid = d.objid
  left join pg_trigger t on d.classid = 'pg_trigger'::regclass and t.oid = d.objid
  left join pg_class c on c.oid = coalesce(r.ev_class, nullif(k.conrelid, 0), e.adrelid, t.tgrelid, case when d.classid = 'pg_class'::regclass then d.objid end)
  left join pg_proc p on d.classid = 'pg_proc'::regclass and p.oid = d.objid
  where d.deptype in ('n', 'a') and coalesce(c.relnamespace, p.pronamespace) not in (select oid from ours)
  order by 1 limit 6`;

async function refuseUsed(query: Query, schemas: readonly string[]): Promise<void> {
  const { rows } = await query(used, [schemas]);
  if (rows.length === 0) return;
  const names = rows.slice(0, 5).map(({ name }) => String(name));
  throw new ConflictError(`In use elsewhere: ${names.join(', ')}${rows.length > 5 ? ' …' : ''}.`, {
    hint: 'It uses tables, views or functions of Lockkeeper: drop it first.',
  });
}
