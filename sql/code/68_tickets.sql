-- Tickets: what is to be done in pg-boss.

create function lockkeeper.take_ticket_changes(n int)
returns table (run_id bigint, change text, job text, deployment text, tags jsonb, priority int)
language sql volatile
set search_path = pg_catalog, pg_temp set plan_cache_mode = force_generic_plan set jit = off set enable_seqscan = off set enable_bitmapscan = off set enable_hashjoin = off set enable_mergejoin = off set enable_material = off as $$
  -- A ticket whose making is still to come is not closed before: it would stay for ever.
  with taken as (
    delete from lockkeeper_data.ticket_changes t
    using (select c.run_id, c.change from lockkeeper_data.ticket_changes c
           where c.change = 'make' or not exists (select from lockkeeper_data.ticket_changes m where m.run_id = c.run_id and m.change = 'make')
           order by c.run_id, c.change limit n for update skip locked) x
    where t.run_id = x.run_id and t.change = x.change
    returning t.run_id, t.change
  )
  select t.run_id, t.change, v.job, d.name, r.tags, r.priority
  from taken t join lockkeeper_data.runs r on r.id = t.run_id
  join lockkeeper_data.job_versions v on v.id = r.version_id
  join lockkeeper_data.deployments d on d.id = r.deployment_id
  where t.change = 'close' or r.state = 'queued'
$$;
comment on function lockkeeper.take_ticket_changes(int) is
  'Takes up to n changes of tickets, make or close, that the caller carries out in pg-boss in the same transaction.';

create function lockkeeper.remake_tickets(run_ids bigint[]) returns void
language sql volatile set search_path = pg_catalog, pg_temp set jit = off set enable_seqscan = off as $$
  insert into lockkeeper_data.ticket_changes (run_id, change)
  select r.id, 'make' from lockkeeper_data.runs r where r.id = any (run_ids) and r.state = 'queued' on conflict do nothing
$$;
comment on function lockkeeper.remake_tickets(bigint[]) is 'Has the tickets of these runs made again, as far as they are still queued.';
