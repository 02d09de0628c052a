/** The schemas: whether they are of this release, and whether what is in them is what this release made. */

import type { Database } from '../../database.ts';
import { makeCopy, migrate } from '../../migrate.ts';
import { bossSchemaVersion, queueNames, queueSchema } from '../../queue/boss.ts';
import { compareCatalogs, type Drift, readCatalog, underSchema } from './catalog.ts';
import { type Finding, fail, ok, one, type Patient, undone, warn } from './finding.ts';

export async function checkSchema({ database, pgBossSchema }: Patient): Promise<Finding> {
  const others = [queueSchema(database, { schema: pgBossSchema })];
  const { from, to, changed, applied } = await migrate(database, { dryRun: true, alsoMigrate: others });
  if (from === 0)
    return fail('schema', `there is no Lockkeeper in schema ${database.schema}`, 'Run `lockkeeper migrate`.');
  if (applied.length > 0)
    return fail(
      'schema',
      `the database has schema version ${from}, this release ${to}`,
      'Run `lockkeeper migrate`; workers of the release before go on meanwhile.',
    );
  if (changed)
    return fail('schema', 'functions and views are those of another release', 'Run `lockkeeper migrate`.');
  return ok('schema', `schema version ${to}, functions and views of this release`);
}

/** Makes the schemas of this release anew, in a transaction that is rolled back, and compares. */
export async function checkDrift({ database }: Patient): Promise<Finding | Finding[]> {
  const { may } = await one<{ may: boolean }>(
    database,
    `select pg_catalog.has_database_privilege(current_database(), 'create') and not pg_catalog.pg_is_in_recovery() as may`,
  );
  if (!may)
    return warn(
      'drift',
      'functions and tables were not compared with this release: that takes the right to create a schema, on a primary',
      'Run `lockkeeper doctor` as the role that migrates.',
    );
  return saidDrift(await driftOf(database));
}

/** What differs from this release. Nothing is left behind. */
export function driftOf(database: Database): Promise<Drift> {
  const { schema } = database;
  const begin = `begin isolation level read committed;
    set local client_min_messages = warning; set local lock_timeout = '5s';
    set local statement_timeout = '60s'; set local search_path = pg_catalog`;
  return undone(database, begin, async (query) => {
    const found = await readCatalog(query, schema);
    const { rows } = await query('select pg_backend_pid() as pid');
    const copy = `lockkeeper_copy_${rows[0]?.pid}`;
    await makeCopy(query, copy);
    return compareCatalogs(underSchema(await readCatalog(query, copy), copy, schema), found);
  });
}

const code = /^(function|view) /;
const shownNames = 6;

function saidDrift({ missing, changed, extra }: Drift): Finding[] | Finding {
  const wrong = [
    ...missing.map((name) => `${name} is missing`),
    ...changed.map((name) => `${name} is another`),
  ];
  const all: Finding[] = [];
  if (wrong.length > 0)
    all.push(
      fail(
        'drift',
        `not as this release made it: ${listed(wrong)}`,
        [...missing, ...changed].every((name) => code.test(name))
          ? 'Somebody changed it by hand. `lockkeeper migrate --again` puts functions and views back.'
          : 'Somebody changed it by hand: put tables, columns and indexes back as sql/tables has them. `lockkeeper migrate --again` puts functions and views back.',
      ),
    );
  if (extra.length > 0)
    all.push(
      warn(
        'drift',
        `not of this release: ${listed(extra)}`,
        'The next migration drops functions and views that it finds here, and what is in the way stops it. Move what is yours to a schema of your own.',
      ),
    );
  return all.length > 0 ? all : ok('drift', 'functions, views and tables are as this release makes them');
}

const listed = (names: readonly string[]) =>
  `${names.slice(0, shownNames).join(', ')}${names.length > shownNames ? ` and ${names.length - shownNames} more` : ''}`;

export async function checkBoss({ database, pgBossSchema: schema }: Patient): Promise<Finding> {
  // The setting is written as in SQL, in quotes where it needs them.
  const { there } = await one<{ there: boolean }>(
    database,
    'select pg_catalog.to_regclass($1) is not null as there',
    [`${schema}.version`],
  );
  if (!there)
    return fail(
      'pg-boss',
      `pg-boss is not installed in schema ${schema}`,
      'Run `lockkeeper migrate`, with the same PGBOSS_SCHEMA.',
    );
  const { version } = await one<{ version: number }>(
    database,
    `select version::int as version from ${schema}.version`,
  );
  if (version !== bossSchemaVersion)
    return fail(
      'pg-boss',
      `pg-boss's schema ${schema} has version ${version}; this release works with ${bossSchemaVersion}`,
      version < bossSchemaVersion
        ? 'Run `lockkeeper migrate --upgrade-pg-boss` once every program that uses this pg-boss knows the newer schema.'
        : 'Install the release of lockkeeper that knows it, or set another PGBOSS_SCHEMA.',
    );
  const names = Object.values(queueNames(database.schema));
  const { rows } = await database.execute(`select name from ${schema}.queue where name = any ($1)`, [names]);
  const missing = names.filter((name) => !rows.some((row) => row.name === name));
  if (missing.length > 0)
    return fail(
      'pg-boss',
      `these queues are missing: ${missing.join(', ')}`,
      'Run `lockkeeper migrate --again`.',
    );
  return ok('pg-boss', `schema ${schema}, version ${version}, ${names.length} queues`);
}
