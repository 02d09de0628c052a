-- For test databases alone, where our tools and the test kit run this file once: a database made as new again. It is no part
-- of a migrated database.

create schema lockkeeper_testing;

-- Those with foreign keys first, so that they can be emptied in this order.
create function lockkeeper_testing.tables() returns setof text
language sql stable set search_path = pg_catalog, pg_temp
begin atomic
  select c.relname::text from pg_class c
  where c.relnamespace = 'lockkeeper_data'::regnamespace and c.relkind in ('r', 'p') and not c.relispartition
  order by exists (select from pg_constraint f where f.conrelid = c.oid and f.contype = 'f') desc, c.relname;
end;
comment on function lockkeeper_testing.tables() is 'The tables that hold Lockkeeper''s state, in an order in which they can be emptied.';

create function lockkeeper_testing.remember() returns void
language plpgsql set search_path = pg_catalog, pg_temp as $$
declare v_table text;
begin
  for v_table in select lockkeeper_testing.tables() loop
    execute format('create table lockkeeper_testing.%1$I as table lockkeeper_data.%1$I', v_table);
  end loop;
end $$;
comment on function lockkeeper_testing.remember() is 'Keeps what all tables hold now, for reset. Once for a database.';

create function lockkeeper_testing.reset() returns void
language plpgsql set search_path = pg_catalog, pg_temp as $$
declare
  v_tables text[] := array(select lockkeeper_testing.tables());
  v_table text;
begin
  for v_table in select c.relname from pg_class c where c.relnamespace = 'lockkeeper_data'::regnamespace and c.relispartition and c.relkind = 'r' loop
    execute format('drop table lockkeeper_data.%I', v_table);
  end loop;
  foreach v_table in array v_tables loop
    execute format('delete from lockkeeper_data.%I', v_table);
  end loop;
  for i in reverse cardinality(v_tables)..1 loop
    execute format('insert into lockkeeper_data.%1$I overriding system value select * from lockkeeper_testing.%1$I', v_tables[i]);
  end loop;
  delete from pgboss.job;
end $$;
comment on function lockkeeper_testing.reset() is
  'Puts everything back to what remember has kept, pg-boss''s jobs apart, which are deleted. Ids go on. Nothing else may be at work in the database.';
