-- Tickets: what is to be done in pg-boss.

create function lockkeeper.take_ticket_changes(n int)
returns table (run_id bigint, change text, job text, deployment text, tags jsonb, priority int, start_at timestamptz)
language sql volatile
set search_path = pg_catalog, pg_temp set plan_cache_mode = force_generic_plan set jit = off set enable_seqscan = off set enable_bitmapscan = off set enable_hashjoin = off set enable_mergejoin = off set enable_material = off as $$
  select lockkeeper_data.check_isolation();
  -- In the order make, remake, close: one that was closed before it is made would stay for ever.
  with taken as (
    -- By their places, which they keep while they are locked: a join would be planned for a table that was empty once, and look for all again for each.
    delete from lockkeeper_data.ticket_changes t
    where t.ctid = any (array(
      select c.ctid from lockkeeper_data.ticket_changes c
      where (select true from lockkeeper_data.ticket_changes e where e.run_id = c.run_id
             and (e.change = 'make' and c.change <> 'make' or e.change = 'remake' and c.change = 'close') limit 1) is null
      order by c.run_id, c.change limit n for update skip locked))
    returning t.run_id, t.change
  )
  select t.run_id, case when t.change = 'close' or r.state = 'queued' then t.change else 'none' end, v.job, d.name, r.tags, r.priority, r.start_at
  from taken t left join lockkeeper_data.runs r on r.id = t.run_id
  left join lockkeeper_data.job_versions v on v.id = r.version_id
  left join lockkeeper_data.deployments d on d.id = r.deployment_id
$$;
comment on function lockkeeper.take_ticket_changes(int) is
  'Takes up to n changes of tickets, make, remake or close, that the caller carries out in pg-boss in the same transaction; '
  'none: to be made, but the run waits no longer.';

create function lockkeeper.remake_tickets(run_ids bigint[]) returns void
language sql volatile set search_path = pg_catalog, pg_temp set jit = off set enable_seqscan = off as $$
  insert into lockkeeper_data.ticket_changes (run_id, change)
  select r.id, 'make' from lockkeeper_data.runs r where r.id = any (run_ids) and r.state = 'queued'
  order by r.id on conflict do nothing
$$;
comment on function lockkeeper.remake_tickets(bigint[]) is 'Has the tickets of these runs made again, as far as they are still queued.';

create function lockkeeper.audit_tickets(after bigint, n int, ticketed bigint[], out upto bigint, out missing bigint[], out orphans bigint[])
language plpgsql stable set search_path = pg_catalog, pg_temp set jit = off set enable_seqscan = off as $$
declare
  v_queued bigint[];
  v_last bigint;
begin
  select array_agg(x.id) filter (where x.state = 'queued'), case when count(*) = n then max(x.id) end into v_queued, v_last
  from (select r.id, r.state from lockkeeper_data.runs r where r.id > after order by r.id limit n) x;
  -- As far as both are known in full; null: to the end of both.
  upto := least(v_last, ticketed[n]);
  missing := array(
    select x.id from (select u as id from unnest(v_queued) u where u <= upto or upto is null except select unnest(ticketed)) x
    where not exists (select from lockkeeper_data.ticket_changes c where c.run_id = x.id and c.change <> 'close') order by 1);
  orphans := array(
    select x.id from (select u as id from unnest(ticketed) u where u <= upto or upto is null except select unnest(v_queued)) x
    where not exists (select from lockkeeper_data.ticket_changes c where c.run_id = x.id) order by 1);
end $$;
comment on function lockkeeper.audit_tickets(bigint, int, bigint[]) is
  'Compares the next n runs after this one with the next n tickets, given by the ids of their runs in order and read in the same statement. '
  'missing: queued runs without a ticket; orphans: tickets of runs that are not queued; neither, where that is already noted. '
  'upto: how far it looked, null: to the end.';
