-- What migrate knows about itself. Run before every migration, so each statement must be repeatable.

create schema if not exists lockkeeper_data;
create schema if not exists lockkeeper;

create table if not exists lockkeeper_data.migrations (
  version int primary key,
  name text not null,
  hash text not null,
  applied_at timestamptz not null default clock_timestamp()
);
comment on table lockkeeper_data.migrations is 'The files of sql/tables that this database has had.';

create table if not exists lockkeeper_data.schema_version (
  one boolean primary key default true check (one),
  tables int not null,
  release text not null,
  code_hash text not null,
  migrated_at timestamptz not null default clock_timestamp()
);
comment on table lockkeeper_data.schema_version is
  'The number of the last file of sql/tables, and the release and hash of the functions and views that were put in place last.';

create or replace function lockkeeper_data.record_migration(version int, name text, hash text) returns void
language sql set search_path = pg_catalog as $$
  insert into lockkeeper_data.migrations (version, name, hash) values ($1, $2, $3);
$$;

create or replace function lockkeeper_data.record_schema_version(tables int, release text, code_hash text) returns void
language sql set search_path = pg_catalog as $$
  insert into lockkeeper_data.schema_version as v (tables, release, code_hash) values ($1, $2, $3)
  on conflict (one) do update
    set tables = excluded.tables, release = excluded.release, code_hash = excluded.code_hash, migrated_at = clock_timestamp();
$$;

-- Who may use functions and views, wherever that is not what it would be by itself: their owner may be another role
-- than the one that migrates now.
create or replace function lockkeeper_data.grants() returns jsonb
language sql set search_path = pg_catalog as $$
  with objects as (
    select 'routine' as kind, pronamespace as namespace, proname as name, null::name as field,
           proowner as owner, proacl as acl, acldefault('f', proowner) as usual from pg_proc
    union all
    select 'table', relnamespace, relname, null, relowner, relacl, acldefault('r', relowner) from pg_class where relkind = 'v'
    union all
    select 'table', c.relnamespace, c.relname, a.attname, c.relowner, a.attacl, null
      from pg_class c join pg_attribute a on a.attrelid = c.oid where c.relkind = 'v' and a.attacl is not null
  )
  select coalesce(jsonb_agg(to_jsonb(x)), '[]') from (
    select o.kind, o.namespace::regnamespace::text as schema, o.name, o.field, a.privilege_type as privilege, a.is_grantable as grantable,
           case a.grantee when 0 then 'public' else a.grantee::regrole::text end as grantee
      from objects o cross join aclexplode(coalesce(o.acl, o.usual)) a
      where o.namespace in ('lockkeeper'::regnamespace, 'lockkeeper_data'::regnamespace)
        and (o.acl is not null or o.owner <> current_user::regrole)) x;
$$;

-- The same rights on what has the same name now; a function has one version only, so its arguments do not count.
create or replace function lockkeeper_data.grant_again(grants jsonb) returns void
language plpgsql set search_path = pg_catalog as $$
declare
  v_statement text;
begin
  for v_statement in
    with present as (
      select 'routine' as kind, pronamespace as namespace, proname as name, oid, oid::regprocedure::text as object,
             proowner as owner, coalesce(proacl, acldefault('f', proowner)) as acl from pg_proc
      union all
      select 'table', relnamespace, relname, oid, oid::regclass::text, relowner, coalesce(relacl, acldefault('r', relowner))
        from pg_class where relkind = 'v'
    ), wanted as (
      select p.*, g.field, g.privilege, g.grantable, g.grantee from present p
        join jsonb_to_recordset(grants) as g(kind text, schema text, name text, field text, privilege text, grantable boolean, grantee text)
          on (g.kind, g.schema, g.name) = (p.kind, p.namespace::regnamespace::text, p.name)
    )
    select s.statement from (
      select distinct 1 as step, format('revoke all on %s %s from %s', w.kind, w.object,
               case a.grantee when 0 then 'public' else a.grantee::regrole::text end) as statement
        from wanted w cross join aclexplode(w.acl) a where w.field is null and a.grantee <> w.owner
      union all
      select 2, format('grant %s%s on %s %s to %s%s', w.privilege, ' (' || quote_ident(w.field) || ')', w.kind, w.object, w.grantee,
               case when w.grantable then ' with grant option' end)
        from wanted w where w.field is null
          or exists (select from pg_attribute t where t.attrelid = w.oid and t.attname = w.field)) s
    order by s.step
  loop
    execute v_statement;
  end loop;
end $$;

-- Drops what sql/code made: every function, view and type of schema lockkeeper, and every function and view of
-- lockkeeper_data but those of this file. Nothing cascades: what stands elsewhere and uses one of them (a view of
-- the user's, a default of a column) makes it fail, with the name of what is in the way.
create or replace function lockkeeper_data.drop_code() returns void
language plpgsql set search_path = pg_catalog as $$
declare
  statement text;
  dropped int;
  left_over int;
  detail text;
  reasons text[];
begin
  loop
    dropped := 0;
    left_over := 0;
    reasons := '{}';
    for statement in
      select format('drop view %s', oid::regclass)
        from pg_class where relnamespace in ('lockkeeper'::regnamespace, 'lockkeeper_data'::regnamespace) and relkind = 'v'
      union all
      select format('drop routine %s', oid::regprocedure)
        from pg_proc where pronamespace = 'lockkeeper'::regnamespace
          or pronamespace = 'lockkeeper_data'::regnamespace
            and proname not in ('record_migration', 'record_schema_version', 'grants', 'grant_again', 'drop_code')
      union all
      select format('drop type %s', t.oid::regtype)
        from pg_type t left join pg_class c on c.oid = t.typrelid
        where t.typnamespace = 'lockkeeper'::regnamespace and (t.typtype in ('e', 'd') or c.relkind = 'c')
    loop
      begin
        execute statement;
        dropped := dropped + 1;
      exception when dependent_objects_still_exist then
        left_over := left_over + 1;
        get stacked diagnostics detail = pg_exception_detail;
        reasons := reasons || string_to_array(detail, E'\n');
      end;
    end loop;
    exit when left_over = 0;
    if dropped = 0 then
      raise exception 'The functions and views of schema lockkeeper cannot be replaced: %',
        (select string_agg(distinct line, '; ') from unnest(reasons) line
           where line !~ format('^(view|function|type) "?(%s|%s)"?[.]', 'lockkeeper', 'lockkeeper_data'))
        using errcode = 'LK006', hint = 'Drop what depends on them, migrate, and create it again.';
    end if;
  end loop;
end $$;
