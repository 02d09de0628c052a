-- Deployments end: by hand, or branches by themselves.

create function lockkeeper.delete_deployment(name text, queued text default 'refuse', out canceled int, out more boolean)
language plpgsql set search_path = pg_catalog, pg_temp set jit = off set lock_timeout = '30s' as $$
declare
  v_id int := (select d.id from lockkeeper_data.deployments d where d.name = delete_deployment.name);
  v_queued bigint[];
  v_live int;
begin
  canceled := 0;
  more := false;
  if queued is null or queued not in ('refuse', 'cancel', 'keep') then
    perform lockkeeper_data.refuse(format('queued is %s, allowed are "refuse", "cancel" and "keep"', coalesce(to_json(queued)::text, 'null')),
      'Say what becomes of its queued runs: refuse to delete it while there are any, cancel them, or keep them, and they still run.', p_field => 'queued');
  end if;
  if v_id is null then
    perform lockkeeper_data.refuse(format('deployment %s does not exist', to_json(name)), 'lockkeeper deployments list shows them.', 'LK004', 'deployment');
  end if;
  if name = 'default' then
    perform lockkeeper_data.refuse('deployment "default" cannot be deleted', 'Runs that name no deployment belong to it.', 'LK007', 'deployment');
  end if;
  v_live := (select count(*) from lockkeeper_data.runs r where r.deployment_id = v_id and r.state in ('queued', 'admitted'));
  if queued = 'refuse' and v_live > 0 then
    perform lockkeeper_data.refuse(format('deployment %s has %s runs that have not ended', to_json(name), v_live),
      'Let them end, or say what becomes of those that are queued: cancel or keep.', 'LK007', 'queued');
  end if;
  update lockkeeper_data.deployments d set ended_at = lockkeeper.now() where d.id = v_id and d.ended_at is null;
  if queued = 'cancel' then
    v_queued := array(select r.id from lockkeeper_data.runs r where r.deployment_id = v_id and r.state = 'queued' order by r.id limit 1000);
    select count(*) filter (where c.state = 'canceled'), count(*) filter (where c.state = 'retry') > 0 or cardinality(v_queued) = 1000
    into canceled, more from lockkeeper_data.cancel_runs(v_queued, false, true) c;
  end if;
end $$;
comment on function lockkeeper.delete_deployment(text, text) is
  'Ends a deployment: it takes no submissions from now on; what it has run stays in the views. queued says what becomes of its queued runs: refuse (LK007 while it has live runs), cancel or keep. '
  'What runs goes on. Answers how many were canceled by this call, at most 1000, and whether to call again for the rest.';

create function lockkeeper.end_branches() returns text[]
language plpgsql set search_path = pg_catalog, pg_temp set jit = off as $$
declare
  v_now timestamptz := lockkeeper.now();
  v_days int;
  v_idle int[];
  v_names text[];
begin
  -- It reads all live runs, so it is done once an hour.
  update lockkeeper_data.configuration c set branches_looked_at = v_now where c.branches_looked_at <= v_now - interval '1 hour'
  returning c.branch_deployment_days into v_days;
  v_idle := array(select d.id from lockkeeper_data.deployments d where d.kind = 'branch' and d.ended_at is null
                  and greatest(d.created_at, d.last_run_at) < v_now - make_interval(days => v_days));
  v_idle := array(select u from unnest(v_idle) u except select distinct r.deployment_id from lockkeeper_data.runs r where v_idle <> '{}' and r.deployment_id = any (v_idle));
  with gone as (update lockkeeper_data.deployments d set ended_at = v_now where d.id = any (v_idle) returning d.name)
  select coalesce(array_agg(g.name order by g.name), '{}') into v_names from gone g;
  return v_names;
end $$;
comment on function lockkeeper.end_branches() is
  'Ends the branch deployments that have had no runs for branch_deployment_days, looking once an hour, and answers their names. Submitting to a branch takes it up again.';
