-- Limits set while things run: limits of the user's own, overrides, pauses. Each function here is one autocommit call.

create function lockkeeper.set_limit("limit" jsonb) returns text
language plpgsql set search_path = pg_catalog, pg_temp set jit = off as $$
declare
  v_name text := "limit" ->> 'name';
  v_change text;
begin
  if v_name ~ '^(runs|pool|executor|branches|workers|paused)([.@{]|$)' then
    perform lockkeeper_data.refuse(format('name is %s, which is a name of the configuration''s', to_json(v_name)),
      'Choose a name of your own that does not begin with runs, pool, executor, branches, workers or paused.', p_field => 'name');
  end if;
  perform lockkeeper_data.lock_configuration(true);
  select p.change into v_change from lockkeeper_data.put_limits('user ' || v_name, jsonb_build_array("limit")) p;
  return coalesce(v_change, 'unchanged');
end $$;
comment on function lockkeeper.set_limit(jsonb) is
  'Adds or changes a limit of your own: { name, counts: run|step, match: { attribute: string | true }, per: [attribute], capacity: number | null, replaces: [names of limits] }. '
  'It stays whatever is applied. Answers added, changed or unchanged.';

create function lockkeeper.drop_limit(name text) returns boolean
language plpgsql set search_path = pg_catalog, pg_temp set jit = off as $$
begin
  perform lockkeeper_data.lock_configuration(true);
  return exists (select from lockkeeper_data.put_limits('user ' || drop_limit.name, '[]'));
end $$;
comment on function lockkeeper.drop_limit(text) is 'Drops a limit that set_limit made. It stops counting at once. False: there is none of this name.';

-- The limit that an override is for, whatever it came from.
create function lockkeeper_data.limit_called(p_name text) returns lockkeeper_data.limits
language plpgsql as $$
declare l lockkeeper_data.limits;
begin
  select * into l from lockkeeper_data.limits x where x.name = p_name and x.counts is not null and x.source <> 'built-in';
  if not found then
    perform lockkeeper_data.refuse(format('there is no limit called %s', to_json(p_name)),
      'lockkeeper limits list shows the limits. What has none can be paused with lockkeeper pause, or gets a limit in the configuration.', p_field => 'name');
  end if;
  return l;
end $$;

create function lockkeeper_data.check_override(p_by text, p_why text, p_until timestamptz) returns void
language plpgsql as $$
begin
  if coalesce(p_by, '') = '' then
    perform lockkeeper_data.refuse('by is missing', 'Say who sets it: others will ask.', p_field => 'by');
  end if;
  if coalesce(p_why, '') = '' then
    perform lockkeeper_data.refuse('why is missing', 'Say why it is set: others will ask.', p_field => 'why');
  end if;
  if p_until <= lockkeeper.now() then
    perform lockkeeper_data.refuse(format('until is %s, which is over', p_until), 'Give a time to come, or none.', p_field => 'until');
  end if;
end $$;

-- Puts an override on limits, or takes it away (null). Only from limited to unlimited, or back, is a change of shape,
-- unless the caller has made one already (p_reshaped).
create function lockkeeper_data.put_override(p_limits int[], p_capacity int, p_by text, p_why text, p_until timestamptz, p_reshaped boolean default false) returns void
language plpgsql as $$
declare
  v_reshaped boolean := exists (select from lockkeeper_data.limits l where l.id = any (p_limits)
    and (coalesce(l.override, l.capacity) is null) <> (coalesce(p_capacity, l.capacity) is null));
begin
  update lockkeeper_data.limits l
  set override = p_capacity, override_by = p_by, override_why = p_why, override_until = p_until, override_at = case when p_capacity is not null then lockkeeper.now() end
  where l.id = any (p_limits);
  perform lockkeeper_data.limits_changed(v_reshaped or p_reshaped);
end $$;

-- Ends overrides. A pause is nothing but its override: all of its rows go with it.
create function lockkeeper_data.lift_overrides(p_limits int[]) returns void
language plpgsql as $$
declare
  v_source text;
  v_reshaped boolean := false;
begin
  for v_source in select distinct l.source from lockkeeper_data.limits l where l.id = any (p_limits) and l.source like 'pause %' order by 1 loop
    v_reshaped := v_reshaped or (lockkeeper_data.write_limits(v_source, '[]')).reshaped;
  end loop;
  perform lockkeeper_data.put_override(p_limits, null, null, null, null, v_reshaped);
end $$;

create function lockkeeper.override_limit(name text, capacity int, by text, why text, until timestamptz default null) returns void
language plpgsql set search_path = pg_catalog, pg_temp set jit = off as $$
begin
  if capacity is null or capacity < 0 then
    perform lockkeeper_data.refuse(format('capacity is %s, allowed are whole numbers from 0', coalesce(capacity::text, 'null')), 'Write 0 to pause; unset_override ends an override.', p_field => 'capacity');
  end if;
  perform lockkeeper_data.check_override(by, why, until);
  perform lockkeeper_data.lock_configuration(true);
  perform lockkeeper_data.put_override(array[(lockkeeper_data.limit_called(name)).id], capacity, by, why, until);
end $$;
comment on function lockkeeper.override_limit(text, int, text, text, timestamptz) is
  'Has a limit count with this capacity instead of its own, 0 to pause it: by whom, why, and until when (null: until unset_override). Stays whatever is applied, and ends by itself.';

create function lockkeeper.unset_override(name text) returns boolean
language plpgsql set search_path = pg_catalog, pg_temp set jit = off as $$
declare l lockkeeper_data.limits;
begin
  perform lockkeeper_data.lock_configuration(true);
  l := lockkeeper_data.limit_called(name);
  if l.override is null then return false; end if;
  perform lockkeeper_data.lift_overrides(array[l.id]);
  return true;
end $$;
comment on function lockkeeper.unset_override(text) is 'Ends an override: the limit counts with its own capacity again. False: there was none.';

-- Different for each match: a value with a point is quoted.
create function lockkeeper_data.pause_name(p_kind text, p_match jsonb) returns text
language sql immutable
return p_kind || coalesce('.' || (select string_agg(key || case when jsonb_typeof(value) <> 'string' then '' when value #>> '{}' ~ '[.]' then '=' || value::text
                                             else '=' || lockkeeper_data.written_value(value #>> '{}') end, ',' order by key)
                           from jsonb_each(p_match)), '');

create function lockkeeper_data.check_match(p_match jsonb) returns void
language plpgsql as $$
begin
  if jsonb_typeof(p_match) is distinct from 'object' then
    perform lockkeeper_data.refuse(format('match is %s, allowed is an object of attributes', lockkeeper_data.shown(p_match)), 'Write {} for everything, {"job": "load"} for a job.', p_field => 'match');
  end if;
end $$;

create function lockkeeper.pause(match jsonb, by text, why text, until timestamptz default null, counts text[] default '{run,step}') returns text
language plpgsql set search_path = pg_catalog, pg_temp set jit = off as $$
declare
  v_name text;
  v_limits jsonb;
  v_reshaped boolean;
begin
  if coalesce(counts, '{}') = '{}' or not counts <@ '{run,step}' then
    perform lockkeeper_data.refuse(format('counts is %s, allowed are run, step or both', coalesce(to_json(counts)::text, 'null')), 'run: no run is admitted; step: no step starts.', p_field => 'counts');
  end if;
  perform lockkeeper_data.check_match(match);
  perform lockkeeper_data.check_override(by, why, until);
  v_name := lockkeeper_data.pause_name('paused', match);
  v_limits := (select jsonb_agg(jsonb_build_object('name', lockkeeper_data.pause_name(case c when 'run' then 'paused' else 'paused.steps' end, match), 'counts', c, 'match', match, 'capacity', null))
               from unnest(counts) c);
  perform lockkeeper_data.lock_configuration(true);
  v_reshaped := (lockkeeper_data.write_limits('pause ' || v_name, v_limits)).reshaped;
  perform lockkeeper_data.put_override(array(select l.id from lockkeeper_data.limits l where l.source = 'pause ' || v_name), 0, by, why, until, v_reshaped);
  return v_name;
end $$;
comment on function lockkeeper.pause(jsonb, text, text, timestamptz, text[]) is
  'Starts nothing new that matches: {} is everything, {"job": "load"} a job, {"deployment": "pr-1"} a deployment. What runs goes on. By whom, why, and until when (null: until resume). '
  'counts: hold back admission (run), steps (step) or both. Answers the name under which runs that wait are shown, such as paused.job=load; of steps it is paused.steps.job=load.';

create function lockkeeper.resume(match jsonb default '{}') returns boolean
language plpgsql set search_path = pg_catalog, pg_temp set jit = off as $$
begin
  perform lockkeeper_data.check_match(match);
  perform lockkeeper_data.lock_configuration(true);
  return exists (select from lockkeeper_data.put_limits('pause ' || lockkeeper_data.pause_name('paused', match), '[]'));
end $$;
comment on function lockkeeper.resume(jsonb) is 'Ends the pause of exactly this match. False: there was none.';

create function lockkeeper.end_overrides() returns text[]
language plpgsql set search_path = pg_catalog, pg_temp set jit = off as $$
declare
  v_now timestamptz := lockkeeper.now();
  v_limits int[];
  v_names text[];
begin
  perform lockkeeper_data.lock_configuration(true);
  select coalesce(array_agg(l.id), '{}'), coalesce(array_agg(l.name order by l.name), '{}') into v_limits, v_names
  from lockkeeper_data.limits l where l.override_until <= v_now;
  perform lockkeeper_data.lift_overrides(v_limits);
  return v_names;
end $$;
comment on function lockkeeper.end_overrides() is 'Ends the overrides and pauses whose time is over, and answers the names of their limits.';
