-- Limits replaced as a whole, and jobs registered, under the configuration lock. Each function here is one autocommit call with one lock phase.

create function lockkeeper_data.settings() returns jsonb
language sql stable
return (select jsonb_build_object('retention_days', retention_days, 'branch_deployment_days', branch_deployment_days) from lockkeeper_data.configuration);

-- Settings beside the limits, checked: null leaves them as they are; of an object, those left out have their defaults.
create function lockkeeper_data.checked_settings(p_settings jsonb) returns jsonb
language plpgsql as $$
declare
  v_all jsonb := '{"retention_days": 30, "branch_deployment_days": 14}';
  v_wrong text;
begin
  if p_settings is null then return lockkeeper_data.settings(); end if;
  if jsonb_typeof(p_settings) <> 'object' then
    perform lockkeeper_data.refuse(format('settings is %s, allowed is an object', lockkeeper_data.shown(p_settings)), 'Write { "retention_days": 30 }, or null to leave them as they are.', p_field => 'settings');
  end if;
  select key into v_wrong from jsonb_each(p_settings) where not v_all ? key limit 1;
  if found then
    perform lockkeeper_data.refuse(format('%s is no setting', to_json(v_wrong)), 'Settings are retention_days and branch_deployment_days.', p_field => v_wrong);
  end if;
  v_all := v_all || p_settings;
  select key into v_wrong from jsonb_each(v_all) where value <> 'null' and value::text !~ '^[1-9][0-9]{0,5}$' limit 1;
  if found then
    perform lockkeeper_data.refuse(format('%s is %s, allowed are whole days from 1, or null for ever', v_wrong, lockkeeper_data.shown(v_all -> v_wrong)),
      'Leave it out for the default.', p_field => v_wrong);
  end if;
  return v_all;
end $$;

create function lockkeeper_data.check_limits(p_limits jsonb) returns void
language plpgsql as $$
begin
  if jsonb_typeof(p_limits) is distinct from 'array' then
    perform lockkeeper_data.refuse(format('limits is %s, allowed is an array', lockkeeper_data.shown(p_limits)), 'Write [{ "name": …, "counts": "step", "match": {}, "per": [], "capacity": 1 }].');
  end if;
end $$;

create function lockkeeper.plan_limits(limits jsonb, settings jsonb default null)
returns table (name text, change text, was jsonb, becomes jsonb, lanes_again boolean)
language plpgsql set search_path = pg_catalog, pg_temp set jit = off as $$
#variable_conflict use_column
begin
  perform lockkeeper_data.check_limits(limits);
  return query
    select c.name, c.change, c.was, c.becomes, c.reshapes from lockkeeper_data.limit_changes('configuration', lockkeeper_data.new_limits('configuration', limits)) c
    union all
    select n.key, 'changed', w.value, n.value, false from jsonb_each(lockkeeper_data.checked_settings(settings)) n
    join jsonb_each(lockkeeper_data.settings()) w on w.key = n.key and w.value <> n.value;
end $$;
comment on function lockkeeper.plan_limits(jsonb, jsonb) is
  'What apply_limits would change, and changes nothing: change is added, removed or changed; was and becomes are the limit { counts, match, per, capacity, replaces, part_of, look_buffer }, '
  'or the value of a setting. lanes_again: because of it, what waits gets its keys anew; another capacity alone does not need that.';

create function lockkeeper.apply_limits(limits jsonb, settings jsonb default null) returns table (name text, change text)
language plpgsql set search_path = pg_catalog, pg_temp set jit = off as $$
#variable_conflict use_column
declare v_settings jsonb := lockkeeper_data.checked_settings(settings);
begin
  perform lockkeeper_data.check_limits(limits);
  perform lockkeeper_data.lock_configuration(true);
  return query
    select * from lockkeeper_data.put_limits('configuration', limits)
    union all
    select n.key, 'changed' from jsonb_each(v_settings) n join jsonb_each(lockkeeper_data.settings()) w on w.key = n.key and w.value <> n.value;
  update lockkeeper_data.configuration c
  set retention_days = (v_settings ->> 'retention_days')::int, branch_deployment_days = (v_settings ->> 'branch_deployment_days')::int
  where lockkeeper_data.settings() <> v_settings;
end $$;
comment on function lockkeeper.apply_limits(jsonb, jsonb) is
  'Replaces all limits of the configuration by these, and its settings, in one transaction, and answers what was added, removed or changed. What is live counts at once; overrides stay. '
  'A limit: { name, counts: run|step, match: { attribute: string | true }, per: [attribute], capacity: number | null, replaces, part_of, look_buffer }. '
  'settings: { retention_days: how long ended runs are kept (30), branch_deployment_days: after so many without runs a branch deployment ends (14) }, of which null is for ever, and what is left out has its default; without settings they are as they were.';

create function lockkeeper.register(definition jsonb) returns table (job text, version text)
language plpgsql set search_path = pg_catalog, pg_temp set jit = off as $$
declare
  v_job text := definition ->> 'job';
  v_limits jsonb := coalesce(nullif(definition -> 'limits', 'null'), '[]');
  v_new boolean;
  v_id int;
begin
  perform lockkeeper_data.check_definition(definition);
  perform lockkeeper_data.check_limits(v_limits);
  v_new := not exists (select from lockkeeper_data.job_versions v where v.job = v_job and v.version = register.definition ->> 'version');
  -- A lease that is opened right now must see a new version, or be seen by it.
  perform lockkeeper_data.lock_configuration(v_new or (select j.limits from lockkeeper_data.jobs j where j.name = v_job) is distinct from v_limits);
  v_id := lockkeeper_data.save_job_version(definition);
  if v_new then
    perform lockkeeper_data.serve_versions(array(
      select distinct a.lease_id from lockkeeper_data.lease_accepts a
      join lockkeeper_data.leases l on l.id = a.lease_id and not l.ended
      join lockkeeper_data.job_versions v on v.id = v_id and v.job = a.job and (a.shape is null or a.shape = v.shape)), array[v_id]);
  end if;
  if (select j.limits from lockkeeper_data.jobs j where j.name = v_job) is distinct from v_limits then
    perform lockkeeper_data.put_limits('job ' || v_job, v_limits);
  end if;
  insert into lockkeeper_data.jobs (name, version_id, limits) values (v_job, v_id, v_limits)
  on conflict (name) do update set version_id = excluded.version_id, limits = excluded.limits
  where (jobs.version_id, jobs.limits) is distinct from (excluded.version_id, excluded.limits);
  return query select v_job, definition ->> 'version';
end $$;
comment on function lockkeeper.register(jsonb) is
  'Registers a version of a job, so that any client can submit it: { job, version, steps: [{ name, after, pools, tags, priority, max_attempts, max_losses, timeout_ms, '
  'backoff_ms, backoff_factor, backoff_max_ms }], limits }. limits are those of the job''s own executor block. Runs keep the version that they were submitted with.';
