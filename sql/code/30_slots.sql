-- The heart: counters and slots change here and nowhere else, and only under the locks of their keys.

-- Room of keys. Without a counter (a limit that is gone) or a capacity there is no end to it: null.
-- look: what admission may still put before the key, ready steps counted.
create function lockkeeper_data.rooms(p_keys bigint[]) returns table (key_id bigint, room bigint, look bigint)
language plpgsql stable as $$
#variable_conflict use_column
begin
  return query
    select c.key_id, r.capacity - c.in_use, r.capacity + l.look_buffer - c.in_use - c.asked
    from unnest(p_keys) u(key_id)
    join lockkeeper_data.counters c on c.key_id = u.key_id
    join lockkeeper_data.limits l on l.id = c.limit_id
    cross join lateral (select coalesce(l.override, c.capacity, l.capacity)::bigint) r(capacity);
end $$;

-- Adds to counters, one update for each key; what nets to nothing writes nothing.
create function lockkeeper_data.count_slots(p_keys bigint[], p_used bigint[], p_asked bigint[]) returns void
language plpgsql volatile as $$
#variable_conflict use_column
begin
    update lockkeeper_data.counters c set in_use = c.in_use + d.used, asked = c.asked + d.asked
    from (select key_id, sum(used)::bigint as used, sum(asked)::bigint as asked
          from unnest(p_keys, p_used, p_asked) u(key_id, used, asked)
          group by key_id having sum(used) <> 0 or sum(asked) <> 0) d
    where c.key_id = d.key_id;
end $$;

-- Writes the slots of subjects that were granted in their lanes. The counting is the caller's, by count_slots.
create function lockkeeper_data.take_slots(p_run_ids bigint[], p_places int[], p_lanes bigint[]) returns void
language plpgsql volatile as $$
#variable_conflict use_column
begin
    insert into lockkeeper_data.slots (run_id, place, key_id, amount)
    select g.run_id, g.place, k.key_id, k.amount
    from unnest(p_run_ids, p_places, p_lanes) g(run_id, place, lane_id)
    join lockkeeper_data.lanes l on l.id = g.lane_id
    cross join lateral unnest(l.keys, l.amounts) k(key_id, amount)
    where k.amount > 0;
end $$;

-- Gives back all slots of the subjects, and answers how counters must change. The counting is the caller's, by count_slots.
create function lockkeeper_data.drop_slots(p_run_ids bigint[], p_places int[], out keys bigint[], out used bigint[])
language plpgsql volatile as $$
begin
  with gone as (
    delete from lockkeeper_data.slots s using unnest(p_run_ids, p_places) u(run_id, place)
    where s.run_id = u.run_id and s.place = u.place
    returning s.key_id, s.amount
  )
  select coalesce(array_agg(g.key_id), '{}'), coalesce(array_agg(-g.amount), '{}') into keys, used from gone g;
end $$;

-- Makes the slots and counters of all that holds what they must be under the limits as they now are.
-- The caller holds the configuration lock exclusively, which stands for the locks of all keys.
create function lockkeeper_data.recount_holders() returns void
language plpgsql as $$
declare
  v_runs lockkeeper_data.subject[];
  v_steps lockkeeper_data.subject[];
  v_run_specs lockkeeper_data.key_spec[];
  v_step_specs lockkeeper_data.key_spec[];
begin
  v_runs := array(select s::lockkeeper_data.subject from lockkeeper_data.run_subjects(
    array(select id from lockkeeper_data.runs where state = 'admitted')) s);
  v_steps := array(select s::lockkeeper_data.subject from lockkeeper_data.attempts a
    cross join lateral lockkeeper_data.step_subjects(array[a.run_id], array[a.place]) s);
  v_run_specs := array(select s::lockkeeper_data.key_spec from lockkeeper_data.shape_specs('run', v_runs) s where s.root = 0);
  v_step_specs := array(select s::lockkeeper_data.key_spec from lockkeeper_data.shape_specs('step', v_steps) s);
  perform lockkeeper_data.make_keys(v_run_specs || v_step_specs);

  delete from lockkeeper_data.slots;
  insert into lockkeeper_data.slots (run_id, place, key_id, amount)
  select s.run_id, s.place, k.id, p.amount
  from (select * from unnest(v_runs) with ordinality union all select * from unnest(v_steps) with ordinality)
       s(run_id, place, attempts, version_id, priority, deployment_id, max_concurrent, attributes, pools, no)
  join (select 0 as counts, * from unnest(v_run_specs) union all select 1, * from unnest(v_step_specs)) p
    on p.shape = s.no and p.counts = (s.place > 0)::int
  join lockkeeper_data.keys k on k.limit_id = p.limit_id and k.identity = lockkeeper_data.values_identity(p.key_values);

  update lockkeeper_data.counters c set in_use = n.in_use
  from (select c2.key_id, coalesce(sum(s.amount), 0) as in_use
        from lockkeeper_data.counters c2 left join lockkeeper_data.slots s on s.key_id = c2.key_id group by c2.key_id) n
  where c.key_id = n.key_id and c.in_use <> n.in_use;
end $$;
