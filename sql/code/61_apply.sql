-- Limits replaced as a whole, and jobs registered, under the configuration lock. Each function here is one autocommit call with one lock phase.

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
