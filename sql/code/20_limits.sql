-- Limits: which of them match a subject, and the keys that this gives.
-- A limit is one row: of the live {runs | steps} that match M, grouped by G, never more than N slots.

-- A value in a key's name: plain where it can be read back, else as a JSON string.
create function lockkeeper_data.written_value(p_value text) returns text
language sql immutable
return case when p_value ~ '^[A-Za-z0-9_./:@+-]+$' then p_value else to_json(p_value)::text end;

create function lockkeeper_data.written_name(p_name text, p_values text[]) returns text
language sql immutable
return p_name || coalesce((select '{' || string_agg(lockkeeper_data.written_value(v), ',' order by i) || '}'
                           from unnest(p_values) with ordinality u(v, i)), '');

-- In PL/pgSQL, since they are called for each key: SQL that cannot be inlined starts an executor each time.
create function lockkeeper_data.values_identity(p_values text[]) returns uuid
language plpgsql immutable as $$
begin
  return md5(array_to_json(p_values)::text)::uuid;
end $$;

-- The attributes of runs: those of the deployment, the job and each tag.
create function lockkeeper_data.run_attributes(p_deployment jsonb, p_job text, p_tags jsonb) returns jsonb
language sql immutable
return p_deployment || jsonb_build_object('job', p_job)
       || coalesce((select jsonb_object_agg('tag.' || key, value) from jsonb_each(p_tags)), '{}');

-- All limits that match. A subject that names pools is looked at once for each pool, and once without.
-- A limit is off for a subject (and pool) for which one that replaces it, or a group it is part of, matches too.
create function lockkeeper_data.matching_limits(p_counts lockkeeper_data.subject_kind, p_attributes jsonb, p_pools jsonb)
returns table (limit_id int, amount int, pool text, per text[], capacity int, look_buffer int)
language plpgsql stable as $$
#variable_conflict use_column
begin
  return query
    with aspect as (
      select null::text as pool, 1 as amount, p_attributes as attributes
      union all
      select key, value::int, p_attributes || jsonb_build_object('pool', key) from jsonb_each_text(p_pools)
    ), hit as materialized (
      select l.*, a.pool, a.amount,
             case when p_attributes ->> l.capacity_attribute ~ '^[0-9]{1,9}$' then (p_attributes ->> l.capacity_attribute)::int end as own
      from aspect a
      join lockkeeper_data.limits l
        on l.counts = p_counts and l.by_pool = (a.pool is not null) and a.attributes @> l.equals and a.attributes ?& l.has
    )
    select h.id, h.amount, h.pool, h.per, h.own, h.look_buffer
    from hit h
    where coalesce(h.override, h.own, h.capacity) is not null
      and not exists (select from hit r where r.pool is not distinct from h.pool
                      and (h.name = any (r.replaces) or h.part_of && r.replaces));
end $$;

create function lockkeeper_data.key_values(p_per text[], p_attributes jsonb, p_pool text, p_run_id bigint) returns text[]
language plpgsql immutable as $$
declare
  v_values text[] := '{}';
  v_attribute text;
begin
  foreach v_attribute in array p_per loop
    v_values := v_values || case v_attribute when 'run' then p_run_id::text when 'pool' then p_pool else p_attributes ->> v_attribute end;
  end loop;
  return v_values;
end $$;

-- The places of a run's root steps: those that come after none, or, of a retry, those that are left and wait for none.
create function lockkeeper_data.root_places(p_version_id int, p_attributes jsonb) returns int[]
language plpgsql stable as $$
begin
  if p_attributes ? 'root_places' then
    return array(select e::int from jsonb_array_elements_text(p_attributes -> 'root_places') e);
  end if;
  return array(select js.place from lockkeeper_data.job_steps js where js.version_id = p_version_id and js.after = '{}');
end $$;

-- The keys that the subjects take (root 0) and, for runs, those that admission looks at, for each root step of the job.
-- Subjects that differ in nothing that a limit sees share a shape: what is matched once serves them all.
create function lockkeeper_data.run_shape_specs(p_subject lockkeeper_data.subject, p_shape int) returns setof lockkeeper_data.key_spec
language plpgsql stable as $$
#variable_conflict use_column
declare v_roots int[] := lockkeeper_data.root_places(p_subject.version_id, p_subject.attributes);
begin
  return query
    select p_shape, 0, m.limit_id, lockkeeper_data.key_values(m.per, p_subject.attributes, m.pool, p_subject.run_id), m.amount, m.capacity, false
    from lockkeeper_data.matching_limits('run', p_subject.attributes, p_subject.pools) m
    union all
    select p_shape, js.place, m.limit_id, lockkeeper_data.key_values(m.per, a.attributes, m.pool, p_subject.run_id), m.amount, m.capacity, true
    from lockkeeper_data.job_steps js
    join lockkeeper_data.deployments d on d.id = p_subject.deployment_id
    cross join lateral (select js.attributes || d.attributes || case when p_subject.max_concurrent is null then '{}'
                          else jsonb_build_object('max_concurrent', p_subject.max_concurrent::text) end) a(attributes)
    cross join lateral lockkeeper_data.matching_limits('step', a.attributes, js.pools) m
    where js.version_id = p_subject.version_id and js.place = any (v_roots) and m.look_buffer is not null;
end $$;

create function lockkeeper_data.step_shape_specs(p_subject lockkeeper_data.subject, p_shape int) returns setof lockkeeper_data.key_spec
language plpgsql stable as $$
#variable_conflict use_column
begin
  return query
    select p_shape, 0, m.limit_id, lockkeeper_data.key_values(m.per, p_subject.attributes, m.pool, p_subject.run_id), m.amount, m.capacity,
           m.look_buffer is not null
    from lockkeeper_data.matching_limits('step', p_subject.attributes, p_subject.pools) m;
end $$;

create function lockkeeper_data.shape_specs(p_counts lockkeeper_data.subject_kind, p_shapes lockkeeper_data.subject[])
returns setof lockkeeper_data.key_spec
language plpgsql stable as $$
#variable_conflict use_column
begin
  return query
    select f.* from unnest(p_shapes) with ordinality s(run_id, place, attempts, version_id, priority, deployment_id, max_concurrent, attributes, pools, no)
    cross join lateral lockkeeper_data.run_shape_specs(
      (s.run_id, s.place, s.attempts, s.version_id, s.priority, s.deployment_id, s.max_concurrent, s.attributes, s.pools)::lockkeeper_data.subject, s.no::int) f
    where p_counts = 'run'
    union all
    select f.* from unnest(p_shapes) with ordinality s(run_id, place, attempts, version_id, priority, deployment_id, max_concurrent, attributes, pools, no)
    cross join lateral lockkeeper_data.step_shape_specs(
      (s.run_id, s.place, s.attempts, s.version_id, s.priority, s.deployment_id, s.max_concurrent, s.attributes, s.pools)::lockkeeper_data.subject, s.no::int) f
    where p_counts = 'step';
end $$;

-- Whether some limit that can match tells runs apart, so that subjects of different runs cannot share a shape.
create function lockkeeper_data.limits_by_run(p_counts lockkeeper_data.subject_kind) returns boolean
language plpgsql stable as $$
begin
  -- Runs with a max_concurrent of their own are told apart anyway.
  return exists (select from lockkeeper_data.limits l where 'run' = any (l.per)
               and (l.override is not null or l.capacity is not null or l.capacity_attribute <> 'max_concurrent')
               and (l.counts = p_counts or l.look_buffer is not null));
end $$;

-- Runs as subjects. run_id is 0 where no limit tells runs apart.
create function lockkeeper_data.run_subjects(p_run_ids bigint[]) returns setof lockkeeper_data.subject
language plpgsql stable as $$
#variable_conflict use_column
begin
  return query
    select r.id, 0, 0, r.version_id, r.priority::bigint, r.deployment_id, r.max_concurrent,
           lockkeeper_data.run_attributes(d.attributes, v.job, r.tags) || case when r.retry_of is null then '{}'
             else jsonb_build_object('root_places', array(select s.place from lockkeeper_data.steps s
                                                          where s.run_id = r.id and s.state = 'pending' and s.needs = 0 order by s.place)) end,
           v.pools
    from unnest(p_run_ids) with ordinality u(id, no)
    join lockkeeper_data.runs r on r.id = u.id
    join lockkeeper_data.deployments d on d.id = r.deployment_id
    join lockkeeper_data.job_versions v on v.id = r.version_id
    order by u.no;
end $$;

create function lockkeeper_data.step_subjects(p_run_ids bigint[], p_places int[]) returns setof lockkeeper_data.subject
language plpgsql stable as $$
#variable_conflict use_column
begin
  return query
    select s.run_id, s.place, s.attempts, r.version_id, r.priority::bigint + js.priority, r.deployment_id, r.max_concurrent,
           js.attributes || d.attributes || case when r.max_concurrent is null then '{}'
             else jsonb_build_object('max_concurrent', r.max_concurrent::text) end,
           js.pools
    from unnest(p_run_ids, p_places) with ordinality u(run_id, place, no)
    join lockkeeper_data.steps s on s.run_id = u.run_id and s.place = u.place
    join lockkeeper_data.runs r on r.id = s.run_id
    join lockkeeper_data.deployments d on d.id = r.deployment_id
    join lockkeeper_data.job_steps js on js.version_id = r.version_id and js.place = s.place
    order by u.no;
end $$;

-- In the order given, those that exist.
create function lockkeeper_data.subjects_of(p_counts lockkeeper_data.subject_kind, p_run_ids bigint[], p_places int[]) returns setof lockkeeper_data.subject
language plpgsql stable as $$
begin
  if p_counts = 'run' then
    return query select * from lockkeeper_data.run_subjects(p_run_ids);
  else
    return query select * from lockkeeper_data.step_subjects(p_run_ids, p_places);
  end if;
end $$;

-- Finds the keys of the specs, and makes those that are new, always in the same order.
create function lockkeeper_data.make_keys(p_specs lockkeeper_data.key_spec[]) returns void
language plpgsql as $$
begin
  insert into lockkeeper_data.keys (limit_id, identity, "values", name, run_id)
  select distinct on (s.limit_id, i.identity) s.limit_id, i.identity, s.key_values, lockkeeper_data.written_name(l.name, s.key_values),
         case when 'run' = any (l.per) then s.key_values[array_position(l.per, 'run')]::bigint end
  from unnest(p_specs) s
  join lockkeeper_data.limits l on l.id = s.limit_id
  cross join lateral (select lockkeeper_data.values_identity(s.key_values)) i(identity)
  where not exists (select from lockkeeper_data.keys k where k.limit_id = s.limit_id and k.identity = i.identity)
  order by s.limit_id, i.identity
  on conflict do nothing;

  insert into lockkeeper_data.counters (key_id, limit_id, in_use, asked, capacity)
  select distinct on (k.id) k.id, k.limit_id, 0, 0, s.capacity
  from unnest(p_specs) s
  join lockkeeper_data.keys k on k.limit_id = s.limit_id and k.identity = lockkeeper_data.values_identity(s.key_values)
  where not exists (select from lockkeeper_data.counters c where c.key_id = k.id)
  order by k.id
  on conflict do nothing;
end $$;
