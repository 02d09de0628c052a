/** What is in the two schemas of a Lockkeeper, as text that can be compared. */

import type { Query } from '../../database.ts';
import { dataSchemaOf, lockNumber } from '../../naming.ts';

/** The definition of each object, by its name. Partitions are left out: they come and go with the days. */
export type Catalog = ReadonlyMap<string, string>;

const text = `
  with ours as (
    select oid, nspname from pg_namespace where nspname = any ($1)
  ), relations as (
    select c.oid, c.relkind, n.nspname || '.' || c.relname as name
    from pg_class c join ours n on n.oid = c.relnamespace where not c.relispartition
  )
  select 'function ' || n.nspname || '.' || p.proname as name,
         string_agg(pg_get_functiondef(p.oid), ' ' order by p.oid::regprocedure::text) as definition
  from pg_proc p join ours n on n.oid = p.pronamespace where p.prokind in ('f', 'p') group by 1
  union all
  select 'view ' || name, pg_get_viewdef(oid) || coalesce((select string_agg(attname, ',' order by attnum) from pg_attribute
           where attrelid = relations.oid and attnum > 0), '') from relations where relkind = 'v'
  union all
  select 'table ' || name, '' from relations where relkind in ('r', 'p')
  union all
  select 'sequence ' || name, '' from relations where relkind = 'S'
  union all
  select 'column ' || r.name || '.' || a.attname, concat_ws(' ', format_type(a.atttypid, a.atttypmod), case when a.attnotnull then 'not null' end,
           a.attidentity, a.attgenerated, pg_get_expr(d.adbin, d.adrelid))
  from relations r join pg_attribute a on a.attrelid = r.oid and a.attnum > 0 and not a.attisdropped
  left join pg_attrdef d on d.adrelid = r.oid and d.adnum = a.attnum where r.relkind in ('r', 'p', 'c')
  union all
  select 'index ' || n.nspname || '.' || c.relname, pg_get_indexdef(c.oid)
  from pg_index i join pg_class c on c.oid = i.indexrelid join relations r on r.oid = i.indrelid join ours n on n.oid = c.relnamespace
  where i.indisvalid
  union all
  select 'constraint ' || r.name || '.' || k.conname, pg_get_constraintdef(k.oid)
  from pg_constraint k join relations r on r.oid = k.conrelid where k.contype in ('c', 'f', 'p', 'u', 'x')
  union all
  select 'trigger ' || r.name || '.' || t.tgname, pg_get_triggerdef(t.oid)
  from pg_trigger t join relations r on r.oid = t.tgrelid where not t.tgisinternal
  union all
  select 'type ' || n.nspname || '.' || t.typname, (select string_agg(enumlabel, ',' order by enumsortorder) from pg_enum where enumtypid = t.oid)
  from pg_type t join ours n on n.oid = t.typnamespace where t.typtype = 'e'`;

/** Reads the catalogs. The search path must be pg_catalog alone, so that every other name is written in full. */
export async function readCatalog(query: Query, schema: string): Promise<Catalog> {
  const { rows } = await query(text, [[schema, dataSchemaOf(schema)]]);
  // A body may write the schema in quotes or without.
  const plain = (definition: string) => definition.replaceAll(new RegExp(`"(${schema}(_data)?)"`, 'g'), '$1');
  return new Map(rows.map(({ name, definition }) => [String(name), plain(String(definition))]));
}

/** The same catalog as it would be under another schema. */
export function underSchema(catalog: Catalog, from: string, to: string): Catalog {
  const changed = (part: string) =>
    part.replaceAll(from, to).replaceAll(lockNumber(from, 0), lockNumber(to, 0));
  return new Map([...catalog].map(([name, definition]) => [changed(name), changed(definition)]));
}

/** Names of what is not as it should be. */
export type Drift = { missing: string[]; changed: string[]; extra: string[] };

export function compareCatalogs(expected: Catalog, found: Catalog): Drift {
  return {
    missing: [...expected.keys()].filter((name) => !found.has(name)),
    changed: [...expected].flatMap(([name, definition]) =>
      (found.get(name) ?? definition) === definition ? [] : [name],
    ),
    extra: [...found.keys()].filter((name) => !expected.has(name)),
  };
}
