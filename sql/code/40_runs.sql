-- Deployments, job versions and runs: what is written before anything is admitted.

create function lockkeeper_data.refuse(p_message text, p_hint text, p_code text default 'LK002', p_field text default null) returns void
language plpgsql as $$
begin
  if p_field is null then
    raise exception '%', p_message using errcode = p_code, hint = p_hint;
  end if;
  raise exception '%', p_message using errcode = p_code, hint = p_hint, column = p_field;
end $$;

-- A value as a person may read it in an error: short, without control characters.
create function lockkeeper_data.shown(p_value jsonb) returns text
language sql immutable
return coalesce(left(p_value::text, 80), 'missing');

create function lockkeeper.add_deployment(name text, kind text default 'full') returns void
language plpgsql set search_path = pg_catalog, pg_temp set jit = off as $$
declare v_kind text;
begin
  if name is null or name = '' or length(name) > 200 then
    perform lockkeeper_data.refuse(format('deployment name is %s, allowed are 1 to 200 characters', coalesce(to_json(name)::text, 'null')), 'Give the deployment a name.');
  end if;
  if kind is null or kind not in ('full', 'branch') then
    perform lockkeeper_data.refuse(format('kind is %s, allowed are "full" and "branch"', coalesce(to_json(kind)::text, 'null')),
      'A full deployment counts for the runs settings, a branch for branch_deployments.');
  end if;
  insert into lockkeeper_data.deployments (name, kind, attributes, created_at)
  values (add_deployment.name, add_deployment.kind, jsonb_build_object('deployment', add_deployment.name, 'deployment_kind', add_deployment.kind), lockkeeper.now())
  on conflict on constraint deployments_name_key do nothing;
  select d.kind into v_kind from lockkeeper_data.deployments d where d.name = add_deployment.name;
  if v_kind <> kind then
    perform lockkeeper_data.refuse(format('deployment %s exists and is %s, not %s', to_json(name), v_kind, kind),
      'A deployment keeps its kind; choose another name.', 'LK007');
  end if;
end $$;
comment on function lockkeeper.add_deployment(text, text) is
  'Adds a deployment of kind full or branch. Repeated, it changes nothing; with another kind it is refused (LK007).';

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

  insert into lockkeeper_data.job_versions (job, version, definition, pools, step_count, workers_key, created_at)
  values (v_job, v_version, p_definition,
          (select coalesce(jsonb_object_agg(pool, slots), '{}')
           from (select p.key as pool, max(p.value::int) as slots from jsonb_array_elements(v_steps) s
                 cross join lateral jsonb_each_text(coalesce(s.value -> 'pools', '{}')) p group by p.key) x),
          jsonb_array_length(v_steps), v_key, lockkeeper.now())
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

create function lockkeeper_data.check_submission(p_run jsonb, p_no bigint) returns void
language plpgsql as $$
declare
  v_where text := case when p_no = 1 then '' else format(' (submission %s)', p_no) end;
  v_field text;
  v_value jsonb;
begin
  if jsonb_typeof(p_run) <> 'object' then
    perform lockkeeper_data.refuse(format('a submission is %s, allowed is an object%s', lockkeeper_data.shown(p_run), v_where), 'Write { "job": "name" }.');
  end if;
  for v_field, v_value in select * from jsonb_each(p_run) loop
    if not (case v_field
        when 'job' then jsonb_typeof(v_value) = 'string'
        when 'deployment' then jsonb_typeof(v_value) in ('string', 'null')
        when 'key' then jsonb_typeof(v_value) = 'null' or (jsonb_typeof(v_value) = 'string' and length(v_value #>> '{}') between 1 and 500)
        when 'tags' then jsonb_typeof(v_value) in ('object', 'null')
        when 'priority' then jsonb_typeof(v_value) = 'null'
          or (jsonb_typeof(v_value) = 'number' and v_value::numeric = trunc(v_value::numeric) and v_value::numeric between -2147483648 and 2147483647)
        when 'max_concurrent' then jsonb_typeof(v_value) = 'null'
          or (jsonb_typeof(v_value) = 'number' and v_value::numeric = trunc(v_value::numeric) and v_value::numeric between 1 and 2147483647)
        when 'input' then true
        else null end) then
      perform lockkeeper_data.refuse(format('%s is %s%s', v_field, lockkeeper_data.shown(v_value), v_where),
        case v_field when 'priority' then 'Allowed are whole numbers of 32 bits.'
                     when 'max_concurrent' then 'Allowed are whole numbers from 1; leave it out for the job''s own setting.'
                     when 'tags' then 'Allowed is an object of strings.'
                     else 'Allowed is a text that is not empty, of at most 500 characters.' end, p_field => v_field);
    end if;
    if v_field not in ('job', 'deployment', 'key', 'tags', 'priority', 'max_concurrent', 'input') then
      perform lockkeeper_data.refuse(format('%s is no field of a submission%s', to_json(v_field), v_where),
        'Allowed are job, input, tags, priority, deployment, key, max_concurrent.', p_field => v_field);
    end if;
  end loop;
  if p_run ->> 'job' is null then
    perform lockkeeper_data.refuse(format('job is missing%s', v_where), 'Name the job to run.', p_field => 'job');
  end if;
  if jsonb_typeof(p_run -> 'tags') = 'object' then
    for v_field, v_value in select * from jsonb_each(p_run -> 'tags') loop
      if jsonb_typeof(v_value) <> 'string' or v_field !~ '^[A-Za-z0-9_./:-]+$' then
        perform lockkeeper_data.refuse(format('tag %s is %s%s', to_json(v_field), lockkeeper_data.shown(v_value), v_where),
          'The key of a tag is made of A-Z a-z 0-9 _ . / : -, its value is a string.', p_field => 'tags.' || v_field);
      end if;
    end loop;
  end if;
end $$;

-- How many keys a subject takes or looks at, every pool that it names counted.
create function lockkeeper_data.keys_of_subject(p_counts lockkeeper_data.subject_kind, p_subject lockkeeper_data.subject) returns bigint
language plpgsql stable as $$
begin
  return (
  select count(distinct (s.limit_id, s.key_values)) filter (where not l.by_pool)
         + greatest(count(distinct (s.limit_id, s.key_values)) filter (where l.by_pool),
                    (select count(*) from jsonb_object_keys(p_subject.pools)))
  from lockkeeper_data.shape_specs(p_counts, array[p_subject]) s join lockkeeper_data.limits l on l.id = s.limit_id);
end $$;

-- Names a run or step, of those given, that would need more than 64 keys.
create function lockkeeper_data.check_width(p_run_ids bigint[]) returns void
language plpgsql as $$
declare v_subject record;
begin
  -- Mostly the limits are too few for it, and nothing needs to be matched.
  if not exists (select from unnest(p_run_ids) u(id) join lockkeeper_data.runs r on r.id = u.id join lockkeeper_data.job_versions v on v.id = r.version_id
                 where (select most_keys from lockkeeper_data.configuration) + 2 * (select count(*) from jsonb_object_keys(v.pools)) > 64) then
    return;
  end if;
  select x.* into v_subject from (
    select s.run_id, null::text as step, v.job, lockkeeper_data.keys_of_subject('run', s::lockkeeper_data.subject) as keys
    from lockkeeper_data.run_subjects(p_run_ids) s join lockkeeper_data.job_versions v on v.id = s.version_id
    union all
    select s.run_id, js.name, js.attributes ->> 'job', lockkeeper_data.keys_of_subject('step', s::lockkeeper_data.subject)
    from unnest(p_run_ids) u(id) join lockkeeper_data.steps t on t.run_id = u.id
    cross join lateral lockkeeper_data.step_subjects(array[t.run_id], array[t.place]) s
    join lockkeeper_data.job_steps js on js.version_id = s.version_id and js.place = s.place) x
  where x.keys > 64 order by x.run_id limit 1;
  if found then
    perform lockkeeper_data.refuse(format('%s of job %s would need %s keys, allowed are 64',
        coalesce('step ' || to_json(v_subject.step)::text, 'a run'), to_json(v_subject.job), v_subject.keys),
      'Use fewer pools or tags that have limits, or fewer limits.');
  end if;
end $$;

create function lockkeeper.submit(runs jsonb, ticketed boolean default false)
returns table (ordinal int, run_id bigint, created boolean)
language plpgsql
set search_path = pg_catalog, pg_temp set plan_cache_mode = force_generic_plan set jit = off set enable_seqscan = off set enable_hashjoin = off set enable_mergejoin = off as $$
#variable_conflict use_column
declare
  v_runs jsonb := case jsonb_typeof(submit.runs) when 'object' then jsonb_build_array(submit.runs) else submit.runs end;
  v_ids bigint[];
  v_problem record;
begin
  if v_runs is null or jsonb_typeof(v_runs) <> 'array' then
    perform lockkeeper_data.refuse(format('runs is %s, allowed is an object or an array of objects', lockkeeper_data.shown(v_runs)), 'Write [{ "job": "name" }].');
  end if;
  perform lockkeeper_data.check_submission(e, no) from jsonb_array_elements(v_runs) with ordinality u(e, no);

  select e, no, j.name as job, d.name as deployment into v_problem
  from jsonb_array_elements(v_runs) with ordinality u(e, no)
  left join lockkeeper_data.jobs j on j.name = e ->> 'job'
  left join lockkeeper_data.deployments d on d.name = coalesce(e ->> 'deployment', 'default')
  where j.name is null or d.name is null order by no limit 1;
  if found and v_problem.job is null then
    perform lockkeeper_data.refuse(format('job %s is not registered', v_problem.e -> 'job'),
      'A worker registers the jobs that it serves when it starts; or call register.', 'LK003');
  elsif found then
    perform lockkeeper_data.refuse(format('deployment %s does not exist', v_problem.e -> 'deployment'),
      'Add it: lockkeeper deployments add NAME --kind full|branch.', 'LK004');
  end if;

  select array_agg(nextval('lockkeeper_data.runs_id_seq') order by no) into v_ids
  from jsonb_array_elements(v_runs) with ordinality u(e, no);

  with new as (
    insert into lockkeeper_data.runs (id, version_id, deployment_id, priority, max_concurrent, steps_left, state, failed, canceling,
                                      submitted_at, key, tags)
    select v_ids[no], j.version_id, d.id, coalesce((e ->> 'priority')::numeric::int, 0), (e ->> 'max_concurrent')::numeric::int, v.step_count,
           'queued', false, false, t.now, e ->> 'key', coalesce(nullif(e -> 'tags', 'null'), '{}')
    from jsonb_array_elements(v_runs) with ordinality u(e, no)
    join lockkeeper_data.jobs j on j.name = e ->> 'job'
    join lockkeeper_data.job_versions v on v.id = j.version_id
    join lockkeeper_data.deployments d on d.name = coalesce(e ->> 'deployment', 'default')
    cross join (select lockkeeper.now() as now offset 0) t
    order by no
    on conflict (deployment_id, key) where key is not null do nothing
    returning id, version_id
  ), inputs as (
    insert into lockkeeper_data.inputs (run_id, input)
    select n.id, v_runs -> (array_position(v_ids, n.id) - 1) -> 'input' from new n
    where jsonb_typeof(v_runs -> (array_position(v_ids, n.id) - 1) -> 'input') <> 'null'
  ), steps as (
    insert into lockkeeper_data.steps (run_id, place, state, attempts, losses, returns, needs)
    select n.id, js.place, 'pending', 0, 0, 0, cardinality(js.after)
    from new n join lockkeeper_data.job_steps js on js.version_id = n.version_id
  ), arrivals as (
    insert into lockkeeper_data.waiting (lane_id, run_id, attempts, place) select 0, n.id, 0, 0 from new n
  )
  insert into lockkeeper_data.ticket_changes (run_id, change) select n.id, 'make' from new n where not submit.ticketed;

  perform lockkeeper_data.check_width(v_ids);
  return query
    select no::int, coalesce(r.id, k.id), r.id is not null
    from jsonb_array_elements(v_runs) with ordinality u(e, no)
    left join lockkeeper_data.runs r on r.id = v_ids[no]
    left join lockkeeper_data.deployments d on r.id is null and d.name = coalesce(e ->> 'deployment', 'default')
    left join lockkeeper_data.runs k on k.deployment_id = d.id and k.key = e ->> 'key'
    order by no;
end $$;
comment on function lockkeeper.submit(jsonb, boolean) is
  'Submits runs, one object or an array of { job, input, tags, priority, deployment, key, max_concurrent }, in the caller''s transaction. All or none. '
  'A run with a key that its deployment has seen is not made again: created is false and run_id the earlier one. '
  'ticketed: the caller makes the pg-boss tickets itself, in this transaction.';
