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

-- Drops what sql/code made: every function, view and type of schema lockkeeper, and every function and view of
-- lockkeeper_data but the three of this file. Nothing cascades: what stands elsewhere and uses one of them (a view of
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
            and proname not in ('record_migration', 'record_schema_version', 'drop_code')
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
        (select string_agg(distinct line, '; ') from unnest(reasons) line where line !~ '^(view|function|type) lockkeeper(_data)?\.')
        using errcode = 'LK006', hint = 'Drop what depends on them, migrate, and create it again.';
    end if;
  end loop;
end $$;
