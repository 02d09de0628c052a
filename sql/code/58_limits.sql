-- The rows of limits: checked, compared and written.

create function lockkeeper_data.check_limit(p_limit jsonb) returns void
language plpgsql as $$
declare
  v_name text;
  v_attribute text;
begin
  if jsonb_typeof(p_limit) is distinct from 'object' then
    perform lockkeeper_data.refuse(format('a limit is %s, allowed is an object', lockkeeper_data.shown(p_limit)), 'Write { "name": …, "counts": "step", "capacity": 1 }.');
  end if;
  if jsonb_typeof(coalesce(p_limit -> 'name', '""')) <> 'string' or length(p_limit ->> 'name') > 200 then
    perform lockkeeper_data.refuse(format('name of a limit is %s, allowed is a text of at most 200 characters', lockkeeper_data.shown(p_limit -> 'name')),
      'The name is what people see while something waits for it.', p_field => 'name');
  end if;
  v_name := p_limit ->> 'name';
  select key into v_attribute from jsonb_each(p_limit)
  where key not in ('name', 'counts', 'match', 'per', 'capacity', 'replaces', 'part_of', 'look_buffer') limit 1;
  if found then
    perform lockkeeper_data.refuse(format('%s is no field of a limit', to_json(v_attribute)),
      'Fields are name, counts, match, per, capacity, replaces, part_of and look_buffer.', p_field => v_attribute);
  end if;
  select key into v_attribute from jsonb_each(p_limit)
  where key in ('per', 'replaces', 'part_of') and value <> 'null' and (jsonb_typeof(value) <> 'array' or jsonb_path_exists(value, '$[*] ? (@.type() != "string")')) limit 1;
  if found then
    perform lockkeeper_data.refuse(format('%s of limit %s is %s, allowed is a list of texts', v_attribute, v_name, lockkeeper_data.shown(p_limit -> v_attribute)),
      'Leave it out for none.', p_field => v_attribute);
  end if;
  if jsonb_typeof(coalesce(p_limit -> 'look_buffer', 'null')) <> 'null' and p_limit ->> 'look_buffer' !~ '^[0-9]{1,9}$' then
    perform lockkeeper_data.refuse(format('look_buffer of limit %s is %s, allowed are whole numbers from 0, or null', v_name, lockkeeper_data.shown(p_limit -> 'look_buffer')),
      'With a number, admission looks ahead at the keys of the limit.', p_field => 'look_buffer');
  end if;
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
  for v_attribute in select jsonb_object_keys(coalesce(p_limit -> 'match', '{}')) union select jsonb_array_elements_text(coalesce(nullif(p_limit -> 'per', 'null'), '[]')) loop
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
  -- A key has one capacity, so what names it must be the same for all who share the key.
  if jsonb_typeof(p_limit -> 'capacity') = 'string' and (p_limit ->> 'capacity' !~ '^(max_concurrent|tag[.][A-Za-z0-9_./:-]+)$'
     or not coalesce(p_limit -> 'per', '[]') ?| array[case when p_limit ->> 'counts' = 'run' or p_limit ->> 'capacity' = 'max_concurrent' then 'run' end, p_limit ->> 'capacity']) then
    perform lockkeeper_data.refuse(format('capacity of limit %s is %s, allowed is a number, max_concurrent in a limit grouped by run, or tag.<key> in a limit grouped by that attribute (of runs, also by run)', v_name, lockkeeper_data.shown(p_limit -> 'capacity')),
      'Write a number, or group the limit: "per": ["run"].', p_field => 'capacity');
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
           null::int, coalesce(l.replaces, '{}'), coalesce(l.part_of, '{}'), l.look_buffer, lockkeeper.now(), null::text, null::text, null::timestamptz, null::timestamptz
    from jsonb_to_recordset(p_limits) l(name text, counts text, match jsonb, per jsonb, capacity jsonb, replaces text[], part_of text[], look_buffer int)
    cross join lateral (select coalesce(l.match, '{}') as match, coalesce(nullif(l.per, 'null'), '[]') as per) m;
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

-- What a limit matches, as people write it.
create function lockkeeper_data.limit_match(l lockkeeper_data.limits) returns jsonb
language sql immutable
return l.equals || coalesce((select jsonb_object_agg(h, true) from unnest(l.has) h where h <> all (l.per)), '{}');

-- A limit as people read it.
create function lockkeeper_data.limit_json(l lockkeeper_data.limits) returns jsonb
language sql immutable
return jsonb_build_object('counts', l.counts, 'per', l.per,
  'match', lockkeeper_data.limit_match(l), 'capacity', coalesce(to_jsonb(l.capacity_attribute), to_jsonb(l.capacity)), 'replaces', l.replaces, 'part_of', l.part_of, 'look_buffer', l.look_buffer);

-- What it would change to have these limits of a source instead of those that are there. reshapes: what waits must be laned again.
create function lockkeeper_data.limit_changes(p_source text, p_new lockkeeper_data.limits[])
returns table (name text, change text, moved boolean, reshapes boolean, was jsonb, becomes jsonb)
language plpgsql stable as $$
#variable_conflict use_column
begin
  return query
    select coalesce(n.name, l.name), case when l.id is null then 'added' when n.name is null then 'removed' else 'changed' end,
           m.moved, m.moved or l.id is null or n.name is null
             or (coalesce(l.override, l.capacity) is null) <> (coalesce(l.override, n.capacity) is null)
             or (l.look_buffer is null) <> (n.look_buffer is null) or (l.replaces, l.part_of) is distinct from (n.replaces, n.part_of),
           m.was, m.becomes
    from (select * from lockkeeper_data.limits x where x.source = p_source) l
    full join (select u.*, row_number() over () as no from unnest(p_new) u) n on n.name = l.name
    cross join lateral (select case when l.id is not null then lockkeeper_data.limit_json((l.*)::lockkeeper_data.limits) end,
                               case when n.name is not null then lockkeeper_data.limit_json(p_new[n.no]) end,
                               -- With another match or grouping it is another limit, which only has the name of the old.
                               l.id is not null and n.name is not null and (l.counts, l.equals, l.has, l.per, l.by_pool, l.capacity_attribute)
                                 is distinct from (n.counts, n.equals, n.has, n.per, n.by_pool, n.capacity_attribute)) m(was, becomes, moved)
    where m.was is distinct from m.becomes
    order by n.no nulls first, l.name;
end $$;

create function lockkeeper_data.new_limits(p_source text, p_limits jsonb) returns lockkeeper_data.limits[]
language plpgsql as $$
declare
  v_new lockkeeper_data.limits[];
  v_twice text;
begin
  perform lockkeeper_data.check_limit(value) from jsonb_array_elements(p_limits);
  v_new := array(select r from lockkeeper_data.limit_rows(p_source, p_limits) r);
  select n.name into v_twice from unnest(v_new) n group by n.name having count(*) > 1 limit 1;
  if found then
    perform lockkeeper_data.refuse(format('limit %s is given twice', v_twice), 'Keep one of them.');
  end if;
  return v_new;
end $$;

-- After a change of limits: what is live counts at once, what waits is laned again if the shape of a limit changed, and who waits at
-- a full key learns of the room. The caller holds the configuration lock exclusively.
create function lockkeeper_data.limits_changed(p_reshaped boolean) returns void
language plpgsql as $$
begin
  update lockkeeper_data.configuration set version = version + 1, stamp = stamp + p_reshaped::int, most_keys = lockkeeper_data.most_keys(),
    attributes_seen = lockkeeper_data.attributes_seen();
  if p_reshaped then
    -- Mostly the limits are too few for any subject to need too many keys, and the waiting are not looked at.
    if (select c.most_keys from lockkeeper_data.configuration c)
       + 2 * (select coalesce(max((select count(*) from jsonb_object_keys(v.pools))), 0) from lockkeeper_data.job_versions v) > 64 then
      perform lockkeeper_data.check_width(array(
        select min(r.id) from lockkeeper_data.runs r where r.state in ('queued', 'admitted') group by r.version_id, r.deployment_id, r.tags, r.max_concurrent is null));
    end if;
    perform lockkeeper_data.recount_holders();
  end if;
  perform lockkeeper_data.pass_batons(array(select distinct w.key_id from lockkeeper_data.watches w));
end $$;

-- Writes all limits of one source, in place of those that were there; overrides stay. What follows from it is limits_changed.
-- The caller holds the configuration lock exclusively.
create function lockkeeper_data.write_limits(p_source text, p_limits jsonb, out names text[], out changes text[], out reshaped boolean)
language plpgsql as $$
declare
  v_new lockkeeper_data.limits[] := lockkeeper_data.new_limits(p_source, p_limits);
  v_moved text[]; v_gone text[];
  v_kept lockkeeper_data.limits[];
begin
  select array_agg(c.name), array_agg(c.change), coalesce(array_agg(c.name) filter (where c.moved), '{}'),
         coalesce(array_agg(c.name) filter (where c.change = 'removed' or c.moved), '{}'), coalesce(bool_or(c.reshapes), false)
  into names, changes, v_moved, v_gone, reshaped from lockkeeper_data.limit_changes(p_source, v_new) c;
  if names is null then return; end if;

  v_kept := array(select l from lockkeeper_data.limits l where l.source = p_source and l.name = any (v_moved) and l.override is not null);
  with removed as (
    delete from lockkeeper_data.limits l where l.source = p_source and l.name = any (v_gone) returning l.id
  ), gone as (
    delete from lockkeeper_data.keys k using removed r where k.limit_id = r.id returning k.id
  )
  delete from lockkeeper_data.counters c using gone g where c.key_id = g.id;
  update lockkeeper_data.limits l set capacity = n.capacity, look_buffer = n.look_buffer, replaces = n.replaces, part_of = n.part_of
  from unnest(v_new) n where l.source = p_source and l.name = n.name and n.name = any (names);
  insert into lockkeeper_data.limits (name, source, counts, equals, has, per, by_pool, capacity, capacity_attribute, replaces, part_of, look_buffer, created_at)
  select n.name, n.source, n.counts, n.equals, n.has, n.per, n.by_pool, n.capacity, n.capacity_attribute, n.replaces, n.part_of, n.look_buffer, n.created_at
  from unnest(v_new) n where not exists (select from lockkeeper_data.limits l where l.source = p_source and l.name = n.name);
  update lockkeeper_data.limits l
  set override = o.override, override_by = o.override_by, override_why = o.override_why, override_at = o.override_at, override_until = o.override_until
  from unnest(v_kept) o where l.source = p_source and l.name = o.name;
end $$;

create function lockkeeper_data.put_limits(p_source text, p_limits jsonb) returns table (name text, change text)
language plpgsql as $$
declare v record;
begin
  v := lockkeeper_data.write_limits(p_source, p_limits);
  if v.names is not null then
    perform lockkeeper_data.limits_changed(v.reshaped);
  end if;
  return query select * from unnest(v.names, v.changes);
end $$;
