-- The flow of a run: apply, register, lane, admit, claim, finish, cancel, sweep. Each function is one autocommit call with one lock phase.

-- ---------------------------------------------------------------- limits

create function lockkeeper_data.check_limit(p_limit jsonb) returns void
language plpgsql as $$
declare
  v_name text := p_limit ->> 'name';
  v_attribute text;
begin
  if coalesce(v_name, '') = '' then
    perform lockkeeper_data.refuse('a limit has no name', 'Name it; the name is what people see while something waits for it.', p_field => 'name');
  end if;
  if p_limit ->> 'counts' is null or p_limit ->> 'counts' not in ('run', 'step') then
    perform lockkeeper_data.refuse(format('counts of limit %s is %s, allowed are "run" and "step"', v_name, lockkeeper_data.shown(p_limit -> 'counts')),
      'A limit counts runs from admission to their end, or steps while they run.', p_field => 'counts');
  end if;
  if jsonb_typeof(coalesce(p_limit -> 'match', '{}')) <> 'object'
     or exists (select from jsonb_each(coalesce(p_limit -> 'match', '{}')) where jsonb_typeof(value) <> 'string' and value <> 'true') then
    perform lockkeeper_data.refuse(format('match of limit %s is %s, allowed is an object of attributes, each with a string or true', v_name, lockkeeper_data.shown(p_limit -> 'match')),
      'A string must be equal, true means that the subject has the attribute.', p_field => 'match');
  end if;
  for v_attribute in select jsonb_object_keys(coalesce(p_limit -> 'match', '{}')) union select jsonb_array_elements_text(coalesce(p_limit -> 'per', '[]')) loop
    if v_attribute not in ('deployment', 'deployment_kind', 'job', 'run', 'step', 'pool', 'max_concurrent') and v_attribute !~ '^tag\.[A-Za-z0-9_./:-]+$' then
      perform lockkeeper_data.refuse(format('limit %s names the attribute %s', v_name, to_json(v_attribute)),
        'Attributes are deployment, deployment_kind, job, run, step, pool, max_concurrent and tag.<key>.', p_field => 'match');
    end if;
  end loop;
  if p_limit -> 'match' ? 'run' then
    perform lockkeeper_data.refuse(format('match of limit %s names one run', v_name), 'Group by it instead: "per": ["run"].', p_field => 'match');
  end if;
  if jsonb_typeof(coalesce(p_limit -> 'capacity', 'null')) not in ('null', 'string')
     and (p_limit ->> 'capacity' !~ '^[0-9]+$' or (p_limit ->> 'capacity')::numeric > 2147483647) then
    perform lockkeeper_data.refuse(format('capacity of limit %s is %s, allowed are whole numbers of 32 bits from 0, or null for unlimited', v_name, lockkeeper_data.shown(p_limit -> 'capacity')),
      'Write 0 to pause, null to lift the limit.', p_field => 'capacity');
  end if;
end $$;

-- Rows of limits as they are stored.
create function lockkeeper_data.limit_rows(p_source text, p_limits jsonb) returns setof lockkeeper_data.limits
language plpgsql volatile as $$
#variable_conflict use_column
begin
  return query
    select 0, l.name, p_source, l.counts::lockkeeper_data.subject_kind,
           coalesce((select jsonb_object_agg(key, value) from jsonb_each(m.match) where jsonb_typeof(value) = 'string'), '{}'),
           array(select key from jsonb_each(m.match) where value = 'true' and key <> 'run'
                 union select p from jsonb_array_elements_text(m.per) p where p <> 'run' and not m.match ? p order by 1),
           array(select p from jsonb_array_elements_text(m.per) with ordinality u(p, i) order by i),
           m.match ? 'pool' or m.per ? 'pool',
           case jsonb_typeof(l.capacity) when 'number' then l.capacity::int end,
           case jsonb_typeof(l.capacity) when 'string' then l.capacity #>> '{}' end,
           null::int, coalesce(l.replaces, '{}'), coalesce(l.part_of, '{}'), l.look_buffer, lockkeeper.now()
    from jsonb_to_recordset(p_limits) l(name text, counts text, match jsonb, per jsonb, capacity jsonb, replaces text[], part_of text[], look_buffer int)
    cross join lateral (select coalesce(l.match, '{}') as match, coalesce(l.per, '[]') as per) m;
end $$;

-- The most keys that one subject can take, pools apart: limits on different values of one attribute cannot match together.
create function lockkeeper_data.most_keys() returns int
language plpgsql volatile as $$
begin
  return (select max(n)::int + 2 from (
  select count(distinct (array(select k from jsonb_object_keys(l.equals) k order by 1), l.has)) as n
  from lockkeeper_data.limits l where not l.by_pool and l.counts is not null group by l.counts
  union all select 0) x);
end $$;

-- Replaces all limits of one source. The caller holds the configuration lock exclusively.
create function lockkeeper_data.put_limits(p_source text, p_limits jsonb) returns table (name text, change text)
language plpgsql as $$
#variable_conflict use_column
declare
  v_new lockkeeper_data.limits[];
  v_twice text;
  v_removed int[]; v_moved text[]; v_added text[]; v_changed text[];
  v_reshaped boolean;
begin
  perform lockkeeper_data.check_limit(value) from jsonb_array_elements(p_limits);
  v_new := array(select r from lockkeeper_data.limit_rows(p_source, p_limits) r);
  select n.name into v_twice from unnest(v_new) n group by n.name having count(*) > 1 limit 1;
  if found then
    perform lockkeeper_data.refuse(format('limit %s is given twice', v_twice), 'Keep one of them.');
  end if;

  -- With another match or grouping it is another limit, which only has the name of the old.
  v_moved := array(select n.name from unnest(v_new) n join lockkeeper_data.limits l on l.source = p_source and l.name = n.name
                   where (l.counts, l.equals, l.has, l.per, l.by_pool, l.capacity_attribute) is distinct from (n.counts, n.equals, n.has, n.per, n.by_pool, n.capacity_attribute));
  v_added := array(select n.name from unnest(v_new) n where not exists (select from lockkeeper_data.limits l where l.source = p_source and l.name = n.name));
  v_changed := v_moved || array(select n.name from unnest(v_new) n join lockkeeper_data.limits l on l.source = p_source and l.name = n.name
                     where n.name <> all (v_moved)
                       and (l.capacity, l.look_buffer, l.replaces, l.part_of) is distinct from (n.capacity, n.look_buffer, n.replaces, n.part_of));
  v_reshaped := v_moved <> '{}' or v_added <> '{}'
    or exists (select from lockkeeper_data.limits l where l.source = p_source and l.name not in (select n.name from unnest(v_new) n))
    or exists (select from unnest(v_new) n join lockkeeper_data.limits l on l.source = p_source and l.name = n.name
               where ((l.capacity is null), (l.look_buffer is null), l.replaces, l.part_of) is distinct from ((n.capacity is null), (n.look_buffer is null), n.replaces, n.part_of));
  return query
    select l.name, 'removed' from lockkeeper_data.limits l where l.source = p_source and l.name not in (select n.name from unnest(v_new) n)
    union all select u, 'added' from unnest(v_added) u
    union all select u, 'changed' from unnest(v_changed) u;

  v_removed := array(select l.id from lockkeeper_data.limits l
                     where l.source = p_source and (l.name = any (v_moved) or l.name not in (select n.name from unnest(v_new) n)));
  delete from lockkeeper_data.limits l where l.id = any (v_removed);
  with gone as (delete from lockkeeper_data.keys k where k.limit_id = any (v_removed) returning k.id)
  delete from lockkeeper_data.counters c using gone g where c.key_id = g.id;
  update lockkeeper_data.limits l set capacity = n.capacity, look_buffer = n.look_buffer, replaces = n.replaces, part_of = n.part_of
  from unnest(v_new) n where l.source = p_source and l.name = n.name and n.name = any (v_changed);
  insert into lockkeeper_data.limits (name, source, counts, equals, has, per, by_pool, capacity, capacity_attribute, replaces, part_of, look_buffer, created_at)
  select n.name, n.source, n.counts, n.equals, n.has, n.per, n.by_pool, n.capacity, n.capacity_attribute, n.replaces, n.part_of, n.look_buffer, n.created_at
  from unnest(v_new) n where n.name = any (v_added || v_moved);

  if v_reshaped or v_changed <> '{}' then
    update lockkeeper_data.configuration set version = version + 1, stamp = stamp + v_reshaped::int, most_keys = lockkeeper_data.most_keys();
  end if;
  if v_reshaped then
    perform lockkeeper_data.check_width(array(select r.id from lockkeeper_data.runs r where r.state in ('queued', 'admitted')));
    perform lockkeeper_data.recount_holders();
  end if;
  perform lockkeeper_data.pass_batons(array(select distinct w.key_id from lockkeeper_data.watches w));
end $$;

create function lockkeeper.apply_limits(limits jsonb) returns table (name text, change text)
language plpgsql set search_path = pg_catalog, pg_temp set jit = off as $$
begin
  if jsonb_typeof(limits) is distinct from 'array' then
    perform lockkeeper_data.refuse(format('limits is %s, allowed is an array', lockkeeper_data.shown(limits)), 'Write [{ "name": …, "counts": "step", "match": {}, "per": [], "capacity": 1 }].');
  end if;
  perform lockkeeper_data.lock_configuration(true);
  return query select * from lockkeeper_data.put_limits('configuration', limits);
end $$;
comment on function lockkeeper.apply_limits(jsonb) is
  'Replaces all limits of the configuration by these, in one transaction, and answers what was added, removed or changed. What is live counts at once. '
  'A limit: { name, counts: run|step, match: { attribute: string | true }, per: [attribute], capacity: number | null, replaces, part_of, look_buffer }.';

create function lockkeeper.register(definition jsonb) returns table (job text, version text)
language plpgsql set search_path = pg_catalog, pg_temp set jit = off as $$
declare
  v_job text := definition ->> 'job';
  v_limits jsonb := coalesce(definition -> 'limits', '[]');
  v_id int;
begin
  perform lockkeeper_data.check_definition(definition);
  if (select j.limits from lockkeeper_data.jobs j where j.name = v_job) is distinct from v_limits then
    perform lockkeeper_data.lock_configuration(true);
  else
    perform lockkeeper_data.lock_configuration();
  end if;
  v_id := lockkeeper_data.save_job_version(definition);
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

-- ---------------------------------------------------------------- lane

create function lockkeeper_data.subjects_of(p_counts lockkeeper_data.subject_kind, p_run_ids bigint[], p_places int[]) returns setof lockkeeper_data.subject
language plpgsql stable as $$
begin
  if p_counts = 'run' then
    return query select * from lockkeeper_data.run_subjects(p_run_ids);
  else
    return query select * from lockkeeper_data.step_subjects(p_run_ids, p_places);
  end if;
end $$;

-- Gives runs that were just submitted their keys and lane. They hold and ask for nothing, so no key is locked.
create function lockkeeper_data.lane_arrivals(p_n int) returns int
language plpgsql as $$
declare
  v_subjects lockkeeper_data.subject[];
begin
  v_subjects := array(select s::lockkeeper_data.subject from lockkeeper_data.run_subjects(
    array(select w.run_id from lockkeeper_data.waiting w where w.lane_id = 0 order by w.run_id limit p_n for update skip locked)) s);
  if v_subjects <> '{}' then
    perform lockkeeper_data.join_lanes(array_agg(s.run_id order by s.no), array_agg(0), array_agg(0), lockkeeper_data.lanes_of('run', v_subjects))
    from unnest(v_subjects) with ordinality s(run_id, place, attempts, version_id, priority, deployment_id, max_concurrent, attributes, pools, no);
  end if;
  return cardinality(v_subjects);
end $$;

-- Moves what waits in lanes of an old stamp to lanes of the new, as many as fit; what it asked for moves with it.
create function lockkeeper_data.relane(p_counts lockkeeper_data.subject_kind, p_n int) returns int
language plpgsql as $$
declare
  v_old bigint[];
  v_subjects lockkeeper_data.subject[];
  v_lanes bigint[];
  v_numbers int[];
  v_wider int[];
  v_count int := 0;
  v_keys bigint[];
begin
  v_old := lockkeeper_data.own_lanes(array(select l.id from lockkeeper_data.lanes l
    where l.counts = p_counts and l.stamp < lockkeeper_data.current_stamp() order by l.priority desc, l.id limit 50));
  if v_old = '{}' then return 0; end if;
  v_subjects := array(
    select s::lockkeeper_data.subject
    from (select array_agg(w.run_id) as run_ids, array_agg(w.place) as places
          from (select x.run_id, x.place from lockkeeper_data.waiting x where x.lane_id = any (v_old)
                order by x.run_id, x.place limit p_n for update) w) w
    cross join lateral lockkeeper_data.subjects_of(p_counts, w.run_ids, w.places) s);
  v_lanes := lockkeeper_data.lanes_of(p_counts, v_subjects);

  v_numbers := array(select distinct n from lockkeeper_data.lanes l cross join lateral unnest(l.locks) n where l.id = any (v_old));
  while v_count < cardinality(v_lanes) loop
    v_wider := array(select distinct n from unnest(v_numbers || (select l.locks from lockkeeper_data.lanes l where l.id = v_lanes[v_count + 1])) n);
    -- Old and new keys of one subject may be 64 each.
    exit when cardinality(v_wider) > 128;
    v_numbers := v_wider;
    v_count := v_count + 1;
  end loop;
  v_subjects := v_subjects[1:v_count];
  v_lanes := v_lanes[1:v_count];
  perform lockkeeper_data.lock_keys(v_numbers);

  perform lockkeeper_data.count_slots(array_agg(d.key_id), array_agg(0::bigint), array_agg(d.asked)) from (
    select a.key_id, a.amount::bigint as asked
    from unnest(v_subjects) s join lockkeeper_data.waiting w on w.run_id = s.run_id and w.place = s.place
    join lockkeeper_data.lanes l on l.id = w.lane_id cross join lateral unnest(l.ask_keys, l.ask_amounts) a(key_id, amount) where s.place > 0
    union all
    select a.key_id, -a.amount from unnest(v_lanes) u(id)
    join lockkeeper_data.lanes l on l.id = u.id and l.counts = 'step' cross join lateral unnest(l.ask_keys, l.ask_amounts) a(key_id, amount)) d;
  if v_count > 0 then
    perform lockkeeper_data.join_lanes(array_agg(s.run_id), array_agg(s.attempts), array_agg(s.place), v_lanes) from unnest(v_subjects) s;
  end if;
  delete from lockkeeper_data.watches w where w.lane_id = any (v_old);
  v_keys := array(select distinct k from lockkeeper_data.lanes l cross join lateral unnest(l.keys || l.look_keys || l.ask_keys) k where l.id = any (v_old || v_lanes));
  perform lockkeeper_data.bury_lanes(v_old);
  perform lockkeeper_data.pass_batons(v_keys);
  return greatest(v_count, 1);
end $$;

create function lockkeeper_data.stale(p_counts lockkeeper_data.subject_kind) returns boolean
language plpgsql volatile as $$
begin
  return exists (select from lockkeeper_data.lanes l where l.counts = p_counts and l.stamp < lockkeeper_data.current_stamp());
end $$;

create function lockkeeper.lane(n int default 1000, out laned int, out more boolean)
language plpgsql
set search_path = pg_catalog, pg_temp set plan_cache_mode = force_generic_plan set jit = off set enable_seqscan = off set enable_hashjoin = off set enable_mergejoin = off set lock_timeout = '30s' as $$
begin
  laned := 0;
  more := false;
  if not pg_try_advisory_xact_lock(5505019530000000000 + 4097) then return; end if;
  perform lockkeeper_data.lock_configuration();
  -- Ready steps first: a run that looks at their keys must see what they ask.
  if lockkeeper_data.stale('step') then
    laned := lockkeeper_data.relane('step', n);
  elsif lockkeeper_data.stale('run') then
    laned := lockkeeper_data.relane('run', n);
  else
    laned := lockkeeper_data.lane_arrivals(n);
  end if;
  more := laned > 0;
end $$;
comment on function lockkeeper.lane(int) is
  'Gives new runs their keys and lane, and anew to what waits under limits that have changed since. Answers how many, and whether there may be more.';

-- ---------------------------------------------------------------- admit

-- The first queued run that has a lane of an old stamp, or null: from there on, nobody is admitted yet.
create function lockkeeper_data.first_stale_run(out priority bigint, out run_id bigint)
language plpgsql volatile as $$
#variable_conflict use_column
declare v_stamp bigint := lockkeeper_data.current_stamp();
begin
  select l.priority, w.run_id into priority, run_id
  from (select max(x.priority) as priority from lockkeeper_data.lanes x where x.counts = 'run' and x.stamp < v_stamp) m
  join lockkeeper_data.lanes l on l.counts = 'run' and l.stamp < v_stamp and l.priority = m.priority
  cross join lateral (select y.run_id from lockkeeper_data.waiting y where y.lane_id = l.id order by y.run_id limit 1) w
  order by w.run_id limit 1;
end $$;

-- The lanes that a decision grants from, puts to sleep or found empty, in the order of the lanes.
create function lockkeeper_data.touched(p_lanes bigint[], d lockkeeper_data.decision) returns bigint[]
language sql immutable
return array(select id from unnest(p_lanes) with ordinality u(id, no) where id = any (d.examined) or id = any (d.empty) order by no);

create function lockkeeper.admit(n int default 100, out run_ids bigint[], out more boolean)
language plpgsql
set search_path = pg_catalog, pg_temp set plan_cache_mode = force_generic_plan set jit = off set enable_seqscan = off set enable_hashjoin = off set enable_mergejoin = off set lock_timeout = '30s' as $$
declare
  v_lanes bigint[];
  v_before record;
  d lockkeeper_data.decision;
  v_plan bigint[];
  v_roots lockkeeper_data.subject[];
  v_root_lanes bigint[];
begin
  run_ids := '{}';
  more := false;
  if not pg_try_advisory_xact_lock(5505019530000000000 + 4097) then return; end if;
  perform lockkeeper_data.lock_configuration();
  if lockkeeper_data.stale('step') then
    return;
  end if;
  v_lanes := lockkeeper_data.first_open_lanes('run', null);
  if v_lanes = '{}' then return; end if;
  select * into v_before from lockkeeper_data.first_stale_run();
  d := lockkeeper_data.decide(v_lanes, n, null, v_before.priority, v_before.run_id);
  v_lanes := lockkeeper_data.own_lanes(lockkeeper_data.touched(v_lanes, d));
  if v_lanes = '{}' then return; end if;
  v_plan := array(select u.run_id from unnest(d.run_ids, d.lane_ids) u(run_id, lane_id) where u.lane_id = any (v_lanes));
  perform lockkeeper_data.lock_runs(v_plan);
  v_roots := array(
    select s::lockkeeper_data.subject
    from (select array_agg(r.id) as run_ids, array_agg(js.place) as places
          from unnest(v_plan) u(id) join lockkeeper_data.runs r on r.id = u.id
          join lockkeeper_data.job_steps js on js.version_id = r.version_id and js.after = '{}') x
    cross join lateral lockkeeper_data.step_subjects(x.run_ids, x.places) s);
  v_root_lanes := lockkeeper_data.lanes_of('step', v_roots);
  perform lockkeeper_data.lock_lane_keys(v_lanes);

  d := lockkeeper_data.decide(v_lanes, n, v_plan, v_before.priority, v_before.run_id);
  perform lockkeeper_data.write_decision(d);
  more := d.held or d.run_ids <> '{}' or d.asleep_lanes <> '{}' or d.empty <> '{}';
  if d.run_ids = '{}' then return; end if;

  run_ids := d.run_ids;
  update lockkeeper_data.runs r set state = 'admitted', admitted_at = lockkeeper.now(), admission = o.admission
  from (select u.id, nextval('lockkeeper_data.admissions') as admission from (select id from unnest(run_ids) with ordinality x(id, no) order by no) u) o
  where r.id = o.id;
  update lockkeeper_data.steps s set state = 'ready' from unnest(v_roots) t
  where s.run_id = t.run_id and s.place = t.place and s.run_id = any (run_ids);
  perform lockkeeper_data.join_lanes(array_agg(t.run_id), array_agg(0), array_agg(t.place), array_agg(t.lane_id))
  from unnest(v_roots, v_root_lanes) t(run_id, place, attempts, version_id, priority, deployment_id, max_concurrent, attributes, pools, lane_id)
  where t.run_id = any (run_ids);
  insert into lockkeeper_data.ticket_changes (run_id, change) select u, 'close' from unnest(run_ids) u on conflict do nothing;
end $$;
comment on function lockkeeper.admit(int) is
  'Admits up to n queued runs, in the order of priority and submission: they take their slots, and their first steps are ready. '
  'Answers them in the order of admission, and whether it is worth calling again. While another admits, it does nothing.';

-- Open lanes of steps that no live lease serves go to sleep at the key of their job version.
create function lockkeeper.sleep_unserved() returns int
language plpgsql
set search_path = pg_catalog, pg_temp set plan_cache_mode = force_generic_plan set jit = off set enable_seqscan = off set enable_hashjoin = off set enable_mergejoin = off set lock_timeout = '30s' as $$
declare
  v_lanes bigint[];
  d lockkeeper_data.decision;
begin
  perform lockkeeper_data.lock_configuration();
  v_lanes := lockkeeper_data.own_lanes(lockkeeper_data.first_open_lanes('step', lockkeeper_data.unserved_versions()));
  if v_lanes = '{}' then return 0; end if;
  perform lockkeeper_data.lock_lane_keys(v_lanes);
  d := lockkeeper_data.decide(v_lanes, 0);
  perform lockkeeper_data.write_decision(d);
  return cardinality(d.asleep_lanes) + cardinality(d.empty);
end $$;
comment on function lockkeeper.sleep_unserved() is
  'Puts to sleep what is ready but known to no live worker, so that no tick looks at it again until one registers. Answers how many lanes.';

-- ---------------------------------------------------------------- claim

create function lockkeeper_data.claimed(p_lease uuid, p_number bigint) returns jsonb
language plpgsql volatile as $$
begin
  return (
    select coalesce(jsonb_agg(jsonb_build_object(
      'run_id', a.run_id::text, 'place', a.place, 'attempt', a.attempt, 'job', v.job, 'version', v.version, 'step', js.name,
      'deployment', d.name, 'tags', js.tags, 'run_tags', r.tags, 'fencing_token', a.token, 'timeout_ms', js.timeout_ms,
      'input', (select i.input from lockkeeper_data.inputs i where i.run_id = a.run_id),
      'outputs', case when js.after = '{}' then '{}' else (
        select coalesce(jsonb_object_agg(b.name, o.output), '{}')
        from lockkeeper_data.job_steps b
        join lockkeeper_data.outcomes o on o.run_id = a.run_id and o.place = b.place and o.outcome = 'succeeded'
        where b.version_id = r.version_id and b.place = any (js.after)) end) order by a.token), '[]')
    from lockkeeper_data.attempts a
    join lockkeeper_data.runs r on r.id = a.run_id
    join lockkeeper_data.job_versions v on v.id = r.version_id
    join lockkeeper_data.job_steps js on js.version_id = r.version_id and js.place = a.place
    join lockkeeper_data.deployments d on d.id = r.deployment_id
    where a.lease_id = p_lease and a.claim_number = p_number);
end $$;

create function lockkeeper.claim(lease uuid, number bigint, n int, out steps jsonb, out more boolean)
language plpgsql
set search_path = pg_catalog, pg_temp set plan_cache_mode = force_generic_plan set jit = off set enable_seqscan = off set enable_hashjoin = off set enable_mergejoin = off set lock_timeout = '30s' as $$
declare
  v_versions int[] := array(select version_id from lockkeeper_data.lease_jobs where lease_id = lease);
  v_lease lockkeeper_data.leases;
  v_lanes bigint[];
  v_keys bigint[];
  d lockkeeper_data.decision;
begin
  steps := '[]';
  more := false;
  -- With nothing to do, nothing is locked and nothing written.
  if lockkeeper_data.first_open_lanes('step', v_versions) = '{}' and lockkeeper_data.batons_of_others(v_versions) = '{}'
     and exists (select from lockkeeper_data.leases l where l.id = lease and not l.ended and l.claim_number <> number) then
    return;
  end if;
  perform lockkeeper_data.lock_configuration();
  v_lease := lockkeeper_data.lock_lease(lease);
  if number <= v_lease.claim_number then
    steps := case when number = v_lease.claim_number then lockkeeper_data.claimed(lease, number) else '[]' end;
    return;
  end if;
  n := least(n, v_lease.room - (select count(*) from lockkeeper_data.attempts a where a.lease_id = lease));
  if n <= 0 then return; end if;
  v_lanes := lockkeeper_data.first_open_lanes('step', v_versions);
  if v_lanes = '{}' then
    v_keys := lockkeeper_data.batons_of_others(v_versions);
    perform lockkeeper_data.lock_keys(array(select (k & 2047)::int from unnest(v_keys) k));
    perform lockkeeper_data.take_batons(v_keys, v_versions);
    more := v_keys <> '{}';
    return;
  end if;
  d := lockkeeper_data.decide(v_lanes, n);
  v_lanes := lockkeeper_data.own_lanes(lockkeeper_data.touched(v_lanes, d));
  if v_lanes = '{}' then return; end if;
  perform lockkeeper_data.lock_lane_keys(v_lanes);
  d := lockkeeper_data.decide(v_lanes, n);
  perform lockkeeper_data.write_decision(d);
  more := cardinality(d.run_ids) < n and (d.held or d.run_ids <> '{}' or d.asleep_lanes <> '{}' or d.empty <> '{}');
  if d.run_ids = '{}' then return; end if;

  update lockkeeper_data.leases l set claim_number = number where l.id = lease;
  with started as (
    update lockkeeper_data.steps s set state = 'running', attempts = s.attempts + 1
    from unnest(d.run_ids, d.places) g(run_id, place) where s.run_id = g.run_id and s.place = g.place
    returning s.run_id, s.place, s.attempts
  )
  insert into lockkeeper_data.attempts (run_id, place, attempt, lease_id, claim_number, started_at, times_out_at)
  select s.run_id, s.place, s.attempts, lease, number, t.now, t.now + js.timeout_ms * interval '1 millisecond'
  from unnest(d.run_ids, d.places) with ordinality g(run_id, place, no)
  join started s on s.run_id = g.run_id and s.place = g.place
  join lockkeeper_data.runs r on r.id = s.run_id
  join lockkeeper_data.job_steps js on js.version_id = r.version_id and js.place = s.place
  cross join (select lockkeeper.now() as now offset 0) t
  order by g.no;
  steps := lockkeeper_data.claimed(lease, number);
end $$;
comment on function lockkeeper.claim(uuid, bigint, int) is
  'Claims up to n ready steps for a lease, in order: they take their slots and run. Claims are numbered by the lease, rising: the last number again gets its answer again, '
  'an older one nothing. more: fewer than n were granted, and it is worth calling again at once. LK005: the lease has ended.';

-- ---------------------------------------------------------------- finish

create function lockkeeper.finish(lease uuid, items jsonb)
returns table (run_id bigint, place int, attempt int, answer text)
language plpgsql
set search_path = pg_catalog, pg_temp set plan_cache_mode = force_generic_plan set jit = off set enable_seqscan = off set enable_hashjoin = off set enable_mergejoin = off set lock_timeout = '30s' as $$
#variable_conflict use_column
declare
  v_wrong text;
  v_endings lockkeeper_data.ending[];
  v_done bigint[] := '{}';
begin
  select e ->> 'outcome' into v_wrong from jsonb_array_elements(items) e
  where e ->> 'outcome' is null or e ->> 'outcome' not in ('succeeded', 'failed', 'returned') limit 1;
  if found then
    perform lockkeeper_data.refuse(format('outcome is %s, allowed are succeeded, failed and returned', coalesce(v_wrong, 'missing')), 'Say how the attempt ended.', p_field => 'outcome');
  end if;
  perform lockkeeper_data.lock_configuration();
  perform from lockkeeper_data.leases l where l.id = finish.lease and not l.ended for share;
  if found then
    perform lockkeeper_data.lock_runs(array(select i.run_id from jsonb_to_recordset(items) i(run_id bigint)));
    v_endings := array(
      select row(i.no, a.run_id, a.place, a.attempt, i.e ->> 'outcome', nullif(i.e -> 'output', 'null'), nullif(i.e -> 'error', 'null'))::lockkeeper_data.ending
      from jsonb_array_elements(items) with ordinality i(e, no)
      join lockkeeper_data.attempts a on a.run_id = (i.e ->> 'run_id')::bigint and a.place = (i.e ->> 'place')::int
        and a.attempt = (i.e ->> 'attempt')::int and a.lease_id = finish.lease
      where not exists (select from jsonb_array_elements(items) with ordinality j(e, no)
                        where j.no < i.no and j.e ->> 'run_id' = i.e ->> 'run_id' and j.e ->> 'place' = i.e ->> 'place'));
    if v_endings <> '{}' then
      v_done := lockkeeper_data.change_steps(v_endings, '{}', '{}');
    end if;
  end if;
  return query
    select i.run_id, i.place, i.attempt,
           case when e.run_id = any (v_done) then 'accepted' when e.run_id is not null then 'retry'
                when o.run_id is not null then 'already' else 'refused' end
    from jsonb_to_recordset(items) i(run_id bigint, place int, attempt int)
    left join unnest(v_endings) e on e.run_id = i.run_id and e.place = i.place and e.attempt = i.attempt
    left join lockkeeper_data.outcomes o on o.run_id = i.run_id and o.place = i.place and o.attempt = i.attempt
      and o.lease_id = finish.lease and o.outcome in ('succeeded', 'failed', 'canceled', 'returned');
end $$;
comment on function lockkeeper.finish(uuid, jsonb) is
  'Ends attempts, an array of { run_id, place, attempt, outcome: succeeded | failed | returned (unstarted), output, error }. '
  'Answers for each: accepted; already (a repeat of what ended it); retry (not done, send it again: too many keys at once); refused (the attempt is no longer this lease''s).';

-- ---------------------------------------------------------------- cancel

-- Owns the lanes of the ready steps of these runs, which the caller locked.
create function lockkeeper_data.own_lanes_of_runs(p_run_ids bigint[]) returns void
language plpgsql as $$
declare
  v_owned bigint[] := '{}';
  v_lanes bigint[];
begin
  loop
    v_lanes := array(select distinct w.lane_id from unnest(p_run_ids) u(id) join lockkeeper_data.waiting w on w.run_id = u.id
                     where w.place > 0 and w.lane_id <> all (v_owned));
    exit when v_lanes = '{}';
    perform from lockkeeper_data.lanes l where l.id = any (v_lanes) order by l.id for no key update;
    -- While we waited, a step may have been laned again.
    v_owned := v_owned || v_lanes;
  end loop;
end $$;

create function lockkeeper_data.cancel_runs(p_run_ids bigint[], p_force boolean, p_only_queued boolean) returns table (run_id bigint, state text)
language plpgsql as $$
#variable_conflict use_column
declare
  v_runs bigint[];
  v_changes lockkeeper_data.step_change[];
  v_endings lockkeeper_data.ending[];
  v_done bigint[] := '{}';
begin
  perform lockkeeper_data.lock_configuration();
  perform lockkeeper_data.lock_runs(p_run_ids);
  v_runs := array(select r.id from lockkeeper_data.runs r where r.id = any (p_run_ids)
                  and (r.state = 'queued' or (r.state = 'admitted' and not p_only_queued)));
  perform lockkeeper_data.own_lanes_of_runs(v_runs);
  v_changes := array(
    select row(s.run_id, s.place, 0, s.state, 'canceled', 0, 0, 0, 0)::lockkeeper_data.step_change
    from unnest(v_runs) u(id) join lockkeeper_data.steps s on s.run_id = u.id where s.state in ('pending', 'ready'));
  v_endings := array(
    select row(0, a.run_id, a.place, a.attempt, 'force_canceled', null, null)::lockkeeper_data.ending
    from unnest(v_runs) u(id) join lockkeeper_data.attempts a on a.run_id = u.id where p_force);
  if v_changes <> '{}' or v_endings <> '{}' then
    v_done := lockkeeper_data.change_steps(v_endings, v_changes, v_runs);
  end if;
  -- What only has running steps left has nothing to change but this.
  update lockkeeper_data.runs r set canceling = true
  where r.id = any (v_runs) and not r.canceling and r.state = 'admitted'
    and (r.id = any (v_done) or not exists (select from unnest(v_changes) c where c.run_id = r.id));
  insert into lockkeeper_data.ticket_changes (run_id, change)
  select r.id, 'close' from lockkeeper_data.runs r where r.id = any (v_done) and r.state = 'canceled' and r.admission is null
  on conflict do nothing;
  return query
    select u.id, case when r.id is null then 'unknown'
                      when r.id = any (v_runs) and r.id <> all (v_done) and exists (select from unnest(v_changes) c where c.run_id = r.id) then 'retry'
                      else (select v.state from lockkeeper_data.run_state_of(r.id) v) end
    from unnest(p_run_ids) with ordinality u(id, no) left join lockkeeper_data.runs r on r.id = u.id order by u.no;
end $$;

-- The state as people see it: running once a step has started.
create function lockkeeper_data.run_state_of(p_run_id bigint) returns table (state text)
language plpgsql stable as $$
#variable_conflict use_column
begin
  return query
    select case when r.state = 'admitted' and exists (select from lockkeeper_data.steps s where s.run_id = r.id and s.attempts > 0) then 'running' else r.state::text end
    from lockkeeper_data.runs r where r.id = p_run_id;
end $$;

create function lockkeeper.cancel(run_ids bigint[], force boolean default false) returns table (run_id bigint, state text)
language sql volatile
set search_path = pg_catalog, pg_temp set plan_cache_mode = force_generic_plan set jit = off set enable_seqscan = off set enable_hashjoin = off set enable_mergejoin = off set lock_timeout = '30s' as $$
  select * from lockkeeper_data.cancel_runs(run_ids, force, false)
$$;
comment on function lockkeeper.cancel(bigint[], boolean) is
  'Cancels runs. What does not run is canceled at once; a step that runs keeps its slots until its worker ends it, with force it ends now. '
  'Answers the state of each: a run that had ended is as it was; unknown: there is no such run; retry: call again for it (too many keys at once).';

create function lockkeeper.cancel_queued(run_ids bigint[]) returns table (run_id bigint, state text)
language sql volatile
set search_path = pg_catalog, pg_temp set plan_cache_mode = force_generic_plan set jit = off set enable_seqscan = off set enable_hashjoin = off set enable_mergejoin = off set lock_timeout = '30s' as $$
  select * from lockkeeper_data.cancel_runs(run_ids, false, true)
$$;
comment on function lockkeeper.cancel_queued(bigint[]) is 'Like cancel, but only of runs that are still queued: one that was admitted in the meantime goes on.';

-- ---------------------------------------------------------------- sweep

create function lockkeeper.sweep(n int default 100, out ended int, out readied int, out more boolean)
language plpgsql
set search_path = pg_catalog, pg_temp set plan_cache_mode = force_generic_plan set jit = off set enable_seqscan = off set enable_hashjoin = off set enable_mergejoin = off set lock_timeout = '30s' as $$
declare
  v_now timestamptz := lockkeeper.now();
  v_found lockkeeper_data.ending[];
  v_endings lockkeeper_data.ending[];
  v_due lockkeeper_data.step_change[];
  v_done bigint[];
begin
  perform lockkeeper_data.lock_configuration();
  -- A timeout comes before a loss, and each attempt only once.
  v_found := array(
    select row(0, f.run_id, f.place, f.attempt, f.outcome, null, null)::lockkeeper_data.ending
    from (select distinct on (run_id, place) * from (
            (select a.run_id, a.place, a.attempt, 1 as rank, 'timed_out' as outcome from lockkeeper_data.attempts a
             where a.times_out_at < v_now order by a.times_out_at limit n)
            union all
            (select a.run_id, a.place, a.attempt, 2, 'lost' from lockkeeper_data.leases l join lockkeeper_data.attempts a on a.lease_id = l.id where l.ended limit n)
            union all
            (select a.run_id, a.place, a.attempt, 3, 'returned' from lockkeeper_data.attempts a where a.unnamed >= 2 limit n)) x
          order by run_id, place, rank) f);
  v_due := array(select row(b.run_id, b.place, 0, 'ready', 'ready', 0, 0, 0, 0)::lockkeeper_data.step_change
                 from lockkeeper_data.backoffs b where b.ready_at <= v_now order by b.ready_at limit n);
  perform lockkeeper_data.lock_runs(array(select f.run_id from unnest(v_found) f) || array(select c.run_id from unnest(v_due) c));
  -- What ended between the look and the lock is left out.
  v_endings := array(select f::lockkeeper_data.ending from unnest(v_found) f
                     join lockkeeper_data.attempts a on a.run_id = f.run_id and a.place = f.place and a.attempt = f.attempt);
  v_due := array(select c::lockkeeper_data.step_change from unnest(v_due) c join lockkeeper_data.backoffs b on b.run_id = c.run_id and b.place = c.place);
  ended := 0;
  readied := 0;
  if v_endings <> '{}' or v_due <> '{}' then
    v_done := lockkeeper_data.change_steps(v_endings, v_due, '{}');
    ended := (select count(*) from unnest(v_endings) e where e.run_id = any (v_done));
    readied := (select count(*) from unnest(v_due) c where c.run_id = any (v_done));
  end if;
  delete from lockkeeper_data.leases l where l.ended and not exists (select from lockkeeper_data.attempts a where a.lease_id = l.id)
    and l.id in (select x.id from lockkeeper_data.leases x where x.ended order by x.id limit 20 for update skip locked);
  more := ended + readied > 0;
end $$;
comment on function lockkeeper.sweep(int) is
  'Ends attempts that timed out, releases what ended leases held, and lets steps ask again whose backoff is over. Answers how many of each, and whether it is worth calling again.';

-- ---------------------------------------------------------------- tickets

create function lockkeeper.take_ticket_changes(n int)
returns table (run_id bigint, change text, job text, deployment text, tags jsonb, priority int)
language sql volatile
set search_path = pg_catalog, pg_temp set plan_cache_mode = force_generic_plan set jit = off set enable_seqscan = off set enable_hashjoin = off set enable_mergejoin = off as $$
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
