-- Runs: submitted, and written with their steps in the caller's transaction. No row is touched that another submission touches.

-- A moment as JSON writes it, or null if it is none.
create function lockkeeper_data.moment(p_value jsonb) returns timestamptz
language plpgsql stable as $$
begin
  if (p_value #>> '{}') !~ '^[0-9]{4}-[0-9]{2}-[0-9]{2}[T ][0-9]{2}:[0-9]{2}(:[0-9]{2}([.][0-9]{1,9})?)?(Z|[+-][0-9]{2}(:?[0-9]{2})?)$' then
    return null;
  end if;
  return (p_value #>> '{}')::timestamptz;
exception when datetime_field_overflow or invalid_datetime_format or invalid_time_zone_displacement_value then
  return null;
end $$;

create function lockkeeper_data.deployment_of(p_run jsonb) returns text
language sql immutable return coalesce(p_run ->> 'branch', p_run ->> 'deployment', 'default');

create function lockkeeper_data.is_whole(p_value jsonb, p_from numeric, p_to numeric) returns boolean
language sql immutable
return jsonb_typeof(p_value) = 'null'
  or (jsonb_typeof(p_value) = 'number' and p_value::numeric = trunc(p_value::numeric) and p_value::numeric between p_from and p_to);

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
        when 'branch' then jsonb_typeof(v_value) = 'null' or (jsonb_typeof(v_value) = 'string' and length(v_value #>> '{}') between 1 and 200)
        when 'start_at' then jsonb_typeof(v_value) = 'null' or (jsonb_typeof(v_value) = 'string' and lockkeeper_data.moment(v_value) is not null)
        when 'key' then jsonb_typeof(v_value) = 'null' or (jsonb_typeof(v_value) = 'string' and length(v_value #>> '{}') between 1 and 500)
        when 'tags' then jsonb_typeof(v_value) in ('object', 'null')
        when 'priority' then lockkeeper_data.is_whole(v_value, -2147483648, 2147483647)
        when 'max_concurrent' then lockkeeper_data.is_whole(v_value, 1, 2147483647)
        when 'queue_timeout_ms' then lockkeeper_data.is_whole(v_value, 1, 1000000000000)
        when 'timeout_ms' then lockkeeper_data.is_whole(v_value, 1, 1000000000000)
        when 'input' then true
        else null end) then
      perform lockkeeper_data.refuse(format('%s is %s%s', v_field, lockkeeper_data.shown(v_value), v_where),
        case v_field when 'priority' then 'Allowed are whole numbers of 32 bits.'
                     when 'max_concurrent' then 'Allowed are whole numbers from 1; leave it out for the job''s own setting.'
                     when 'tags' then 'Allowed is an object of strings.'
                     when 'start_at' then 'Allowed is a time as ISO 8601 writes it, with its zone: 2026-01-31T06:00:00Z.'
                     when 'queue_timeout_ms' then 'Allowed are whole milliseconds from 1 to 1000000000000.'
                     when 'timeout_ms' then 'Allowed are whole milliseconds from 1 to 1000000000000.'
                     when 'branch' then 'Allowed is the name of a branch, of 1 to 200 characters.'
                     else 'Allowed is a text that is not empty, of at most 500 characters.' end, p_field => v_field);
    end if;
    if v_field not in ('job', 'deployment', 'branch', 'key', 'tags', 'priority', 'max_concurrent', 'start_at', 'queue_timeout_ms', 'timeout_ms', 'input') then
      perform lockkeeper_data.refuse(format('%s is no field of a submission%s', to_json(v_field), v_where),
        'Allowed are job, input, tags, priority, deployment, branch, key, max_concurrent, start_at, queue_timeout_ms, timeout_ms.', p_field => v_field);
    end if;
  end loop;
  if p_run ->> 'job' is null then
    perform lockkeeper_data.refuse(format('job is missing%s', v_where), 'Name the job to run.', p_field => 'job');
  end if;
  if p_run ->> 'branch' is not null and p_run ->> 'deployment' is not null then
    perform lockkeeper_data.refuse(format('deployment and branch are both given%s', v_where),
      'A branch is a deployment: give its name as branch alone, and it is made if it is missing.', p_field => 'branch');
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
  if not exists (select from (select distinct r.version_id from unnest(p_run_ids) u(id) join lockkeeper_data.runs r on r.id = u.id) x
                 join lockkeeper_data.job_versions v on v.id = x.version_id
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
set search_path = pg_catalog, pg_temp set plan_cache_mode = force_generic_plan set jit = off set enable_seqscan = off set enable_bitmapscan = off set enable_hashjoin = off set enable_mergejoin = off set enable_material = off as $$
#variable_conflict use_column
declare
  v_runs jsonb := case jsonb_typeof(submit.runs) when 'object' then jsonb_build_array(submit.runs) else submit.runs end;
  v_each jsonb[];
  v_ids bigint[];
  v_keyed boolean;
  v_now timestamptz := lockkeeper.now();
  v_problem record;
begin
  if v_runs is null or jsonb_typeof(v_runs) <> 'array' then
    perform lockkeeper_data.refuse(format('runs is %s, allowed is an object or an array of objects', lockkeeper_data.shown(v_runs)), 'Write [{ "job": "name" }].');
  end if;
  v_each := array(select jsonb_array_elements(v_runs));
  perform lockkeeper_data.check_submission(e, no) from unnest(v_each) with ordinality u(e, no);
  perform lockkeeper_data.make_deployment(b.name, 'branch') from (
    select distinct e ->> 'branch' as name from unnest(v_each) e where e ->> 'branch' is not null order by 1) b
  where not exists (select from lockkeeper_data.deployments d where d.name = b.name and d.kind = 'branch' and d.ended_at is null);

  select e, no, j.name as job, d.name as deployment into v_problem
  from unnest(v_each) with ordinality u(e, no)
  left join lockkeeper_data.jobs j on j.name = e ->> 'job'
  left join lockkeeper_data.deployments d on d.name = lockkeeper_data.deployment_of(e) and d.ended_at is null
  where j.name is null or d.name is null order by no limit 1;
  if found and v_problem.job is null then
    perform lockkeeper_data.refuse(format('job %s is not registered', v_problem.e -> 'job'),
      'A worker registers the jobs that it serves when it starts; or call register.', 'LK003');
  elsif found then
    perform lockkeeper_data.refuse(format('deployment %s does not exist or has ended', to_json(lockkeeper_data.deployment_of(v_problem.e))),
      'Add it: lockkeeper deployments add NAME --kind full|branch.', 'LK004');
  end if;

  select array_agg(nextval('lockkeeper_data.runs_id_seq') order by no), bool_or(e ->> 'key' is not null) into v_ids, v_keyed
  from unnest(v_each) with ordinality u(e, no);

  if v_keyed then
    insert into lockkeeper_data.run_keys (deployment_id, key, run_id)
    select d.id, e ->> 'key', v_ids[no] from unnest(v_each) with ordinality u(e, no)
    join lockkeeper_data.deployments d on d.name = lockkeeper_data.deployment_of(e)
    where e ->> 'key' is not null order by d.id, e ->> 'key', no
    on conflict (deployment_id, key) do nothing;
  end if;

  with given as materialized (
    select v_ids[no] as id, no, e, d.id as deployment_id
    from unnest(v_each) with ordinality u(e, no)
    join lockkeeper_data.deployments d on d.name = lockkeeper_data.deployment_of(e)
    where e ->> 'key' is null or exists (select from lockkeeper_data.run_keys k
                                         where k.deployment_id = d.id and k.key = e ->> 'key' and k.run_id = v_ids[no])
  ), new as (
    insert into lockkeeper_data.runs (id, version_id, deployment_id, priority, max_concurrent, steps_left, state, failed, canceling,
                                      submitted_at, key, tags, start_at, queue_timeout_ms, timeout_ms)
    select g.id, j.version_id, g.deployment_id, coalesce((e ->> 'priority')::numeric::int, 0), (e ->> 'max_concurrent')::numeric::int, v.step_count,
           'queued', false, false, v_now, e ->> 'key', coalesce(nullif(e -> 'tags', 'null'), '{}'),
           lockkeeper_data.moment(nullif(e -> 'start_at', 'null')), (e ->> 'queue_timeout_ms')::numeric::bigint, (e ->> 'timeout_ms')::numeric::bigint
    from given g
    join lockkeeper_data.jobs j on j.name = e ->> 'job'
    join lockkeeper_data.job_versions v on v.id = j.version_id
    order by no
    returning id, version_id, start_at, queue_timeout_ms
  ), inputs as (
    insert into lockkeeper_data.inputs (run_id, input)
    select g.id, e -> 'input' from given g where jsonb_typeof(e -> 'input') <> 'null'
  ), steps as (
    insert into lockkeeper_data.steps (run_id, place, state, attempts, losses, returns, needs)
    select n.id, js.place, 'pending', 0, 0, 0, cardinality(js.after)
    from new n join lockkeeper_data.job_steps js on js.version_id = n.version_id
  ), arrivals as (
    insert into lockkeeper_data.waiting (lane_id, run_id, attempts, place) select 0, n.id, 0, 0 from new n where coalesce(n.start_at <= v_now, true)
  ), delayed as (
    insert into lockkeeper_data.backoffs (run_id, place, ready_at) select n.id, 0, n.start_at from new n where n.start_at > v_now
  ), deadlines as (
    insert into lockkeeper_data.deadlines (run_id, deadline, at)
    select n.id, 'queue_timeout', greatest(n.start_at, v_now) + n.queue_timeout_ms * interval '1 millisecond' from new n where n.queue_timeout_ms is not null
  )
  insert into lockkeeper_data.ticket_changes (run_id, change) select n.id, 'make' from new n where not submit.ticketed;

  if v_keyed and exists (select from unnest(v_each) e join lockkeeper_data.deployments d on d.name = lockkeeper_data.deployment_of(e)
             where e ->> 'key' is not null and not exists (select from lockkeeper_data.run_keys k where k.deployment_id = d.id and k.key = e ->> 'key')) then
    perform lockkeeper_data.refuse('the run of a key was forgotten while the key was submitted again', 'Submit it once more.', '40001', 'key');
  end if;
  perform lockkeeper_data.check_width(v_ids);
  return query
    select no::int, coalesce(r.id, k.run_id), r.id is not null
    from unnest(v_each) with ordinality u(e, no)
    left join lockkeeper_data.runs r on r.id = v_ids[no]
    left join lockkeeper_data.deployments d on r.id is null and d.name = lockkeeper_data.deployment_of(e)
    left join lockkeeper_data.run_keys k on k.deployment_id = d.id and k.key = e ->> 'key'
    order by no;
end $$;
comment on function lockkeeper.submit(jsonb, boolean) is
  'Submits runs, one object or an array of { job, input, tags, priority, deployment, branch, key, max_concurrent, start_at, queue_timeout_ms, timeout_ms }, '
  'in the caller''s transaction. All or none. branch names a branch deployment, which is made if it is missing. A run asks for nothing before start_at; '
  'it fails if it is not admitted within queue_timeout_ms milliseconds from then, or has not ended timeout_ms milliseconds after its admission. '
  'A run with a key that its deployment has seen is not made again: created is false and run_id the earlier one. '
  'ticketed: the caller makes the pg-boss tickets itself, in this transaction.';
