-- Job versions.

-- All steps that come after a step, however far. A cycle puts a step after itself.
create function lockkeeper_data.steps_after(p_steps jsonb) returns table (step text, later text)
language plpgsql stable as $$
#variable_conflict use_column
begin
  return query
    with recursive edge as (
      select a.value as step, s.value ->> 'name' as later
      from jsonb_array_elements(p_steps) s cross join lateral jsonb_array_elements_text(coalesce(s.value -> 'after', '[]')) a
    ), closure as (
      select * from edge
      union
      select c.step, e.later from closure c join edge e on e.step = c.later
    )
    select * from closure;
end $$;

create function lockkeeper_data.check_definition(p_definition jsonb) returns void
language plpgsql as $$
declare v_problem text;
begin
  if p_definition is null or jsonb_typeof(p_definition) <> 'object' or coalesce(p_definition ->> 'job', '') = '' then
    perform lockkeeper_data.refuse('job is missing in the definition', 'A definition is an object { job, version, steps: [{ name, after, pools, … }], limits }.');
  end if;
  if coalesce(p_definition ->> 'version', '') = '' then
    perform lockkeeper_data.refuse(format('version of job %s is missing', p_definition -> 'job'), 'Give a hash of the definition.');
  end if;
  if jsonb_typeof(p_definition -> 'steps') is distinct from 'array' or jsonb_array_length(p_definition -> 'steps') not between 1 and 4000 then
    perform lockkeeper_data.refuse(format('steps of job %s are %s, allowed are 1 to 4000 steps in an array', p_definition -> 'job',
      coalesce(jsonb_typeof(p_definition -> 'steps'), 'missing')), 'List the steps in the order of their places.');
  end if;
  select case
      when coalesce(s.value ->> 'name', '') = '' then 'a step has no name'
      when (select count(*) from jsonb_array_elements(p_definition -> 'steps') o where o.value ->> 'name' = s.value ->> 'name') > 1
        then format('step %s is defined twice', s.value -> 'name')
      when exists (select from jsonb_array_elements_text(coalesce(s.value -> 'after', '[]')) a
                   where a not in (select o.value ->> 'name' from jsonb_array_elements(p_definition -> 'steps') o))
        then format('step %s is after a step that the job does not have: %s', s.value -> 'name', s.value -> 'after')
      when exists (select from jsonb_each(coalesce(s.value -> 'pools', '{}')) p where jsonb_typeof(p.value) <> 'number' or p.value::text !~ '^[1-9][0-9]{0,8}$')
        then format('pools of step %s are %s, allowed are whole numbers of slots from 1', s.value -> 'name', s.value -> 'pools')
      when coalesce(s.value ->> 'max_attempts', '1') !~ '^[1-9][0-9]{0,8}$'
        then format('max_attempts of step %s is %s, allowed are whole numbers from 1', s.value -> 'name', s.value -> 'max_attempts')
      when coalesce(s.value ->> 'max_losses', '3') !~ '^[0-9]{1,9}$'
        then format('max_losses of step %s is %s, allowed are whole numbers from 0', s.value -> 'name', s.value -> 'max_losses')
    end
  into v_problem
  from jsonb_array_elements(p_definition -> 'steps') s
  order by 1 nulls last limit 1;
  if v_problem is null then
    select format('step %s comes after itself', to_json(step)) into v_problem from lockkeeper_data.steps_after(p_definition -> 'steps') where step = later limit 1;
  end if;
  if v_problem is not null then
    perform lockkeeper_data.refuse(format('job %s: %s', p_definition -> 'job', v_problem), 'Correct the definition of the job.');
  end if;
end $$;

-- The same for versions of a job with the same steps and edges, whatever else differs.
create function lockkeeper_data.shape_of(p_steps jsonb) returns uuid
language sql immutable
return md5((select jsonb_agg(jsonb_build_array(s.value -> 'name', (select coalesce(jsonb_agg(a order by a), '[]')
                                                                   from jsonb_array_elements_text(coalesce(s.value -> 'after', '[]')) a))
                             order by s.value ->> 'name')
            from jsonb_array_elements(p_steps) s)::text)::uuid;

-- Stores a version of a job, if it is new. Answers its id.
create function lockkeeper_data.save_job_version(p_definition jsonb) returns int
language plpgsql as $$
declare
  v_job text := p_definition ->> 'job';
  v_version text := p_definition ->> 'version';
  v_steps jsonb := p_definition -> 'steps';
  v_id int;
  v_key bigint;
begin
  select id into v_id from lockkeeper_data.job_versions where job = v_job and version = v_version;
  if found then return v_id; end if;
  -- Two that register the same at once: the second waits here, then finds the first's.
  insert into lockkeeper_data.keys (limit_id, identity, "values", name)
  select id, lockkeeper_data.values_identity(array[v_job, v_version]), array[v_job, v_version], 'workers' from lockkeeper_data.limits where source = 'built-in' and name = 'workers'
  on conflict do nothing returning id into v_key;
  if not found then
    return (select id from lockkeeper_data.job_versions where job = v_job and version = v_version);
  end if;
  insert into lockkeeper_data.counters (key_id, limit_id, in_use, asked, capacity)
  select v_key, id, 0, 0, -1 from lockkeeper_data.limits where source = 'built-in' and name = 'workers';

  insert into lockkeeper_data.job_versions (job, version, definition, pools, step_count, workers_key, created_at, shape)
  values (v_job, v_version, p_definition,
          (select coalesce(jsonb_object_agg(pool, slots), '{}')
           from (select p.key as pool, max(p.value::int) as slots from jsonb_array_elements(v_steps) s
                 cross join lateral jsonb_each_text(coalesce(s.value -> 'pools', '{}')) p group by p.key) x),
          jsonb_array_length(v_steps), v_key, lockkeeper.now(), lockkeeper_data.shape_of(v_steps))
  returning id into v_id;

  insert into lockkeeper_data.job_steps (version_id, place, name, attributes, pools, tags, priority, max_attempts, max_losses,
                                         timeout_ms, backoff_ms, backoff_factor, backoff_max_ms, after, dependents, descendants)
  select v_id, s.place, s.step ->> 'name',
         jsonb_build_object('job', v_job, 'step', s.step ->> 'name')
           || coalesce((select jsonb_object_agg('tag.' || key, value) from jsonb_each(coalesce(s.step -> 'tags', '{}'))), '{}'),
         coalesce(s.step -> 'pools', '{}'), coalesce(s.step -> 'tags', '{}'),
         coalesce((s.step ->> 'priority')::int, 0), coalesce((s.step ->> 'max_attempts')::int, 1), coalesce((s.step ->> 'max_losses')::int, 3),
         (s.step ->> 'timeout_ms')::bigint, coalesce((s.step ->> 'backoff_ms')::bigint, 0),
         coalesce((s.step ->> 'backoff_factor')::real, 2), coalesce((s.step ->> 'backoff_max_ms')::bigint, 3600000),
         array(select o.place::int from jsonb_array_elements(v_steps) with ordinality o(step, place)
               where s.step -> 'after' ? (o.step ->> 'name') order by 1),
         array(select o.place::int from jsonb_array_elements(v_steps) with ordinality o(step, place)
               where o.step -> 'after' ? (s.step ->> 'name') order by 1),
         array(select o.place::int from lockkeeper_data.steps_after(v_steps) a
               join jsonb_array_elements(v_steps) with ordinality o(step, place) on o.step ->> 'name' = a.later
               where a.step = s.step ->> 'name' order by 1)
  from jsonb_array_elements(v_steps) with ordinality s(step, place);
  return v_id;
end $$;
