-- Lanes: who may start together, where a lane sleeps, and what wakes it.
-- A lane is open while it has a row in open_lanes. Only its owner closes it; anybody may open it.

-- Finds the lanes of shapes under the limits as they are, makes those that are new, open, and holds them all
-- so that nobody buries them before the caller's commit. Answers one lane for each shape, by its number.
create function lockkeeper_data.find_lanes(p_counts lockkeeper_data.subject_kind, p_shapes lockkeeper_data.subject[]) returns bigint[]
language plpgsql as $$
declare
  v_specs lockkeeper_data.key_spec[] := array(select s::lockkeeper_data.key_spec from lockkeeper_data.shape_specs(p_counts, p_shapes) s);
  v_stamp bigint := lockkeeper_data.current_stamp();
  v_wanted lockkeeper_data.lanes[];
  v_found bigint[];
begin
  perform lockkeeper_data.make_keys(v_specs);
  -- The key of the job version's workers is taken by amount 0: full while nobody serves it, never used up.
  v_wanted := array(
    select row(shape, p_counts, version_id, priority, v_stamp,
               md5(concat_ws('|', p_counts, version_id, priority, v_stamp, keys, amounts, look_roots, look_keys, look_amounts, ask_keys, ask_amounts))::uuid,
               keys, amounts, look_roots, look_keys, look_amounts, ask_keys, ask_amounts,
               array(select distinct (k & 2047)::int from unnest(keys || look_keys || ask_keys) k order by 1))::lockkeeper_data.lanes
    from (
      select g.shape, s.version_id, s.priority, g.keys, g.amounts,
             case when g.looks then g.look_roots else '{}' end as look_roots,
             case when g.looks then g.look_keys else '{}' end as look_keys,
             case when g.looks then g.look_amounts else '{}' end as look_amounts,
             coalesce(case p_counts when 'run' then g.look_keys else g.asked_keys end, '{}') as ask_keys,
             coalesce(case p_counts when 'run' then g.look_amounts else g.asked_amounts end, '{}') as ask_amounts
      from (
        select p.shape,
               array_agg(p.key_id order by p.key_id) filter (where p.root = 0) as keys,
               array_agg(p.amount order by p.key_id) filter (where p.root = 0) as amounts,
               array_agg(p.root order by p.root, p.key_id) filter (where p.root > 0) as look_roots,
               array_agg(p.key_id order by p.root, p.key_id) filter (where p.root > 0) as look_keys,
               array_agg(p.amount order by p.root, p.key_id) filter (where p.root > 0) as look_amounts,
               array_agg(p.key_id order by p.key_id) filter (where p.root = 0 and p.asks) as asked_keys,
               array_agg(-p.amount order by p.key_id) filter (where p.root = 0 and p.asks) as asked_amounts,
               -- A root that looks at nothing always has room; then there is nothing to look at.
               count(distinct p.root) filter (where p.root > 0) =
                 (select count(*) from lockkeeper_data.job_steps js where js.version_id = (p_shapes[p.shape]).version_id and js.after = '{}') as looks
        from (
          select s.shape, s.root, k.id as key_id, s.amount, s.asks
          from unnest(v_specs) s join lockkeeper_data.keys k on k.limit_id = s.limit_id and k.identity = lockkeeper_data.values_identity(s.key_values)
          union all
          select s.no::int, 0, v.workers_key, 0, false
          from unnest(p_shapes) with ordinality s(run_id, place, attempts, version_id, priority, deployment_id, max_concurrent, attributes, pools, no)
          join lockkeeper_data.job_versions v on v.id = s.version_id
        ) p
        group by p.shape
      ) g
      cross join lateral (select (p_shapes[g.shape]).*) s
      order by g.shape
    ) w);
  loop
    insert into lockkeeper_data.lanes (counts, version_id, priority, stamp, identity, keys, amounts,
                                       look_roots, look_keys, look_amounts, ask_keys, ask_amounts, locks)
    select distinct on (w.identity) w.counts, w.version_id, w.priority, w.stamp, w.identity, w.keys, w.amounts,
           w.look_roots, w.look_keys, w.look_amounts, w.ask_keys, w.ask_amounts, w.locks
    from unnest(v_wanted) w
    where not exists (select from lockkeeper_data.lanes l where l.identity = w.identity)
    order by w.identity
    on conflict (identity) do nothing;

    perform from lockkeeper_data.lanes l
    where l.id in (select x.id from unnest(v_wanted) w join lockkeeper_data.lanes x on x.identity = w.identity)
    order by l.id for key share;

    v_found := array(select l.id from unnest(v_wanted) w join lockkeeper_data.lanes l on l.identity = w.identity order by w.id);
    exit when cardinality(v_found) = cardinality(v_wanted);
  end loop;
  -- Born open: what has neither a row here nor a watch was just made, here.
  insert into lockkeeper_data.open_lanes (lane_id, counts, version_id, priority, run_id, attempts, place)
  select distinct on (u.lane_id) u.lane_id, p_counts, s.version_id, s.priority, s.run_id, s.attempts, s.place
  from unnest(v_found) with ordinality u(lane_id, no)
  cross join lateral (select (p_shapes[u.no]).*) s
  where not exists (select from lockkeeper_data.open_lanes o where o.lane_id = u.lane_id)
    and not exists (select from lockkeeper_data.watches x where x.lane_id = u.lane_id)
  order by u.lane_id, s.run_id, s.attempts, s.place;
  return v_found;
end $$;

-- The lane of each subject, in their order. Subjects in which no limit sees a difference are looked up once.
create function lockkeeper_data.lanes_of(p_counts lockkeeper_data.subject_kind, p_subjects lockkeeper_data.subject[]) returns bigint[]
language plpgsql as $$
declare
  v_by_run boolean := lockkeeper_data.limits_by_run(p_counts);
  v_shape_of int[];
  v_shapes lockkeeper_data.subject[];
  v_lanes bigint[];
begin
  if p_subjects = '{}' then return '{}'; end if;
  select array_agg(shape order by no),
         array_agg(subject order by shape) filter (where first)
  into v_shape_of, v_shapes
  from (select no, shape, subject, row_number() over (partition by shape order by run_id, attempts, place) = 1 as first
        from (select s.no, s.run_id, s.attempts, s.place,
                     (s.run_id, s.place, s.attempts, s.version_id, s.priority, s.deployment_id, s.max_concurrent, s.attributes, s.pools)::lockkeeper_data.subject as subject,
                     dense_rank() over (order by s.version_id, s.priority, s.deployment_id, s.max_concurrent, s.attributes, s.pools,
                                        case when v_by_run or s.max_concurrent is not null then s.run_id end)::int as shape
              from unnest(p_subjects) with ordinality s(run_id, place, attempts, version_id, priority, deployment_id, max_concurrent, attributes, pools, no)) x) y;
  v_lanes := lockkeeper_data.find_lanes(p_counts, v_shapes);
  return array(select v_lanes[u.shape] from unnest(v_shape_of) with ordinality u(shape, no) order by u.no);
end $$;

-- Puts subjects into lanes, or moves them there. A lane that gets a subject before the place where it is known to begin
-- is opened, so that its turn comes in order.
create function lockkeeper_data.join_lanes(p_run_ids bigint[], p_attempts int[], p_places int[], p_lanes bigint[]) returns void
language plpgsql as $$
begin
  insert into lockkeeper_data.waiting (lane_id, run_id, attempts, place)
  select * from unnest(p_lanes, p_run_ids, p_attempts, p_places)
  on conflict (run_id, place) do update set lane_id = excluded.lane_id, attempts = excluded.attempts;

  insert into lockkeeper_data.open_lanes (lane_id, counts, version_id, priority, run_id, attempts, place)
  select j.lane_id, l.counts, l.version_id, l.priority, j.run_id, j.attempts, j.place
  from (select distinct on (lane_id) * from unnest(p_lanes, p_run_ids, p_attempts, p_places) u(lane_id, run_id, attempts, place)
        order by lane_id, run_id, attempts, place) j
  join lockkeeper_data.lanes l on l.id = j.lane_id
  where not exists (select from lockkeeper_data.open_lanes o
                    where o.lane_id = j.lane_id and (o.run_id, o.attempts, o.place) <= (j.run_id, j.attempts, j.place))
    and not exists (select from lockkeeper_data.watches w
                    where w.lane_id = j.lane_id and (w.run_id, w.attempts, w.place) <= (j.run_id, j.attempts, j.place));
end $$;

-- Takes subjects out of their lanes. Answers how `asked` of keys must change for it.
create function lockkeeper_data.leave_lanes(p_run_ids bigint[], p_places int[]) returns table (key_id bigint, asked bigint)
language plpgsql volatile as $$
#variable_conflict use_column
begin
  return query
    with gone as (
      delete from lockkeeper_data.waiting w using unnest(p_run_ids, p_places) u(run_id, place)
      where w.run_id = u.run_id and w.place = u.place
      returning w.lane_id, w.place
    )
    select a.key_id, sum(a.amount)
    from gone g join lockkeeper_data.lanes l on l.id = g.lane_id
    cross join lateral unnest(l.ask_keys, l.ask_amounts) a(key_id, amount)
    where g.place > 0
    group by a.key_id;
end $$;

-- Passes the batons of keys whose locks the caller holds: opens first watchers while there is room, takers and lookers apart,
-- passing over those that want more than the room.
create function lockkeeper_data.pass_batons(p_keys bigint[]) returns void
language plpgsql volatile as $$
#variable_conflict use_column
begin
    with room as materialized (
      select * from lockkeeper_data.rooms(array(select distinct k from unnest(p_keys) k))
    ), chosen as (
      select w.lane_id, w.root from room r cross join lateral (
        select x.lane_id, x.root, sum(x.amount) over (order by x.priority desc, x.run_id, x.attempts, x.place, x.lane_id, x.root) as total
        from (select * from lockkeeper_data.watches t
              where t.root = 0 and t.key_id = r.key_id and (r.room is null or t.amount <= r.room)
              order by t.priority desc, t.run_id, t.attempts, t.place limit 100) x) w
      where r.room is null or w.total <= r.room
      union
      select w.lane_id, w.root from room r cross join lateral (
        select x.lane_id, x.root, sum(x.amount) over (order by x.priority desc, x.run_id, x.attempts, x.place, x.lane_id, x.root) as total
        from (select * from lockkeeper_data.watches t
              where t.root > 0 and t.key_id = r.key_id and (r.look is null or t.amount <= r.look)
              order by t.priority desc, t.run_id, t.attempts, t.place limit 100) x) w
      where r.look is null or w.total <= r.look
    ), gone as (
      delete from lockkeeper_data.watches w using chosen c where w.lane_id = c.lane_id and w.root = c.root returning w.*
    )
    insert into lockkeeper_data.open_lanes (lane_id, counts, version_id, priority, run_id, attempts, place)
    select distinct lane_id, counts, version_id, priority, run_id, attempts, place from gone;
end $$;

-- Keys with room at which lanes of these job versions sleep, while the open lanes that carry their batons are of versions that the caller
-- does not serve: nobody may have room for those, and the caller must not idle beside them. As far as 64 key locks go.
create function lockkeeper_data.batons_of_others(p_versions int[]) returns bigint[]
language plpgsql volatile as $$
begin
  return array(
  select r.key_id
  from lockkeeper_data.rooms(array(
    select distinct k from (select distinct o.lane_id from lockkeeper_data.open_lanes o where o.counts = 'step' and o.version_id <> all (p_versions) limit 200) o
    join lockkeeper_data.lanes l on l.id = o.lane_id cross join lateral unnest(l.keys) k)) r
  where exists (select from unnest(p_versions) v(id) cross join lateral (
      select from lockkeeper_data.watches w where w.root = 0 and w.key_id = r.key_id and w.version_id = v.id and (r.room is null or w.amount <= r.room) limit 1) w)
  limit 64);
end $$;

-- Takes over those batons: opens the first watcher of each of these job versions. The caller holds the locks of the keys.
create function lockkeeper_data.take_batons(p_keys bigint[], p_versions int[]) returns void
language plpgsql volatile as $$
#variable_conflict use_column
begin
    with gone as (
      delete from lockkeeper_data.watches w
      using lockkeeper_data.rooms(p_keys) r cross join unnest(p_versions) v(id)
      cross join lateral (
        select t.lane_id from lockkeeper_data.watches t
        where t.root = 0 and t.key_id = r.key_id and t.version_id = v.id and (r.room is null or t.amount <= r.room)
        order by t.priority desc, t.run_id, t.attempts, t.place limit 1) c
      where w.lane_id = c.lane_id and w.root = 0
      returning w.*
    )
    insert into lockkeeper_data.open_lanes (lane_id, counts, version_id, priority, run_id, attempts, place)
    select lane_id, counts, version_id, priority, run_id, attempts, place from gone;
end $$;

-- Deletes lanes that the caller owns and saw empty, unless somebody is joining them right now: then they stay open.
create function lockkeeper_data.bury_lanes(p_lanes bigint[]) returns void
language plpgsql as $$
declare v_dead bigint[];
begin
  v_dead := array(select id from lockkeeper_data.lanes where id = any (p_lanes) order by id for update skip locked);
  -- A new statement: what joined before the lock is seen now.
  with dead as (
    delete from lockkeeper_data.lanes l where l.id = any (v_dead)
      and not exists (select from lockkeeper_data.waiting w where w.lane_id = l.id)
    returning l.id
  ), unwatched as (
    delete from lockkeeper_data.watches w using dead d where w.lane_id = d.id
  )
  delete from lockkeeper_data.open_lanes o using dead d where o.lane_id = d.id;
end $$;

-- The first watcher of a key that wants no more than the room, as taker or as looker.
create function lockkeeper_data.first_watcher(p_counts lockkeeper_data.subject_kind, p_key bigint, p_room bigint, p_look bigint) returns lockkeeper_data.watches
language plpgsql stable as $$
declare w lockkeeper_data.watches;
begin
  select x.* into w from (
    (select * from lockkeeper_data.watches t where t.root = 0 and t.key_id = p_key and t.counts = p_counts and t.amount <= p_room
     order by t.priority desc, t.run_id, t.attempts, t.place limit 1)
    union all
    (select * from lockkeeper_data.watches t where t.root > 0 and t.key_id = p_key and t.counts = p_counts and t.amount <= p_look
     order by t.priority desc, t.run_id, t.attempts, t.place limit 1)) x
  order by x.priority desc, x.run_id, x.attempts, x.place limit 1;
  return w;
end $$;

-- Decides, in order and without writing, which of the first subjects of some lanes are granted, at most so many, and which lanes must sleep.
-- Exact where the caller owns the lanes and holds the locks of all of their keys; else what it seems.
-- Nobody is granted past one that comes before him and still sleeps beside room, until the batons of the open lanes here have reached it (held).
-- p_only: grant no other runs than these. p_before_*: look at no subject from there on.
create function lockkeeper_data.decide(p_lanes bigint[], p_n int, p_only bigint[] default null,
                                       p_before_priority bigint default null, p_before_run bigint default null)
returns lockkeeper_data.decision
language plpgsql as $$
declare
  d lockkeeper_data.decision;
  c record;
  v_used bigint[]; v_asked bigint[]; v_capacity bigint[]; v_buffer bigint[];
  v_blocked boolean[] := array_fill(false, array[cardinality(p_lanes)]);
  v_examined boolean[] := v_blocked;
  v_depth int := greatest(8, 2 * p_n / cardinality(p_lanes));
  v_full int; v_root int; v_room boolean; v_at int[]; i int; k int;
  v_counts lockkeeper_data.subject_kind := (select l.counts from lockkeeper_data.lanes l where l.id = p_lanes[1]);
  v_watched int[]; v_first lockkeeper_data.watches[]; v_known boolean[]; v_next lockkeeper_data.watches;
begin
  d.run_ids := '{}'; d.attempts := '{}'; d.places := '{}'; d.lane_ids := '{}';
  d.asleep_lanes := '{}'; d.asleep_roots := '{}'; d.asleep_keys := '{}'; d.asleep_amounts := '{}';
  d.asleep_runs := '{}'; d.asleep_attempts := '{}'; d.asleep_places := '{}'; d.more := false; d.held := false;

  select array_agg(u.key_id order by u.key_id), array_agg(coalesce(n.in_use, 0) order by u.key_id), array_agg(coalesce(n.asked, 0) order by u.key_id),
         array_agg(coalesce(m.override, n.capacity, m.capacity) order by u.key_id), array_agg(coalesce(m.look_buffer, 0) order by u.key_id),
         array_agg(null::lockkeeper_data.watches), array_agg(false)
  into d.keys, v_used, v_asked, v_capacity, v_buffer, v_first, v_known
  from (select distinct x.key_id from unnest(p_lanes) o(id) join lockkeeper_data.lanes l on l.id = o.id
        cross join lateral unnest(l.keys || l.look_keys || l.ask_keys) x(key_id)) u
  left join lockkeeper_data.counters n on n.key_id = u.key_id
  left join lockkeeper_data.limits m on m.id = n.limit_id;
  d.used := array_fill(0::bigint, array[cardinality(d.keys)]);
  d.asked := d.used;
  v_watched := array(select u.i::int from unnest(d.keys) with ordinality u(key_id, i)
                     where exists (select from lockkeeper_data.watches x where x.root = 0 and x.key_id = u.key_id and x.counts = v_counts)
                        or exists (select from lockkeeper_data.watches x where x.root > 0 and x.key_id = u.key_id and x.counts = v_counts));

  for c in
    select l.no, l.id as lane_id, l.priority, w.run_id, w.attempts, w.place, w.nth,
           l.take, l.amounts, l.look_roots, l.look, l.look_amounts, l.ask, l.ask_amounts
    from (select o.no, x.*,
                 array(select array_position(d.keys, e) from unnest(x.keys) with ordinality t(e, n) order by n) as take,
                 array(select array_position(d.keys, e) from unnest(x.look_keys) with ordinality t(e, n) order by n) as look,
                 array(select array_position(d.keys, e) from unnest(x.ask_keys) with ordinality t(e, n) order by n) as ask
          from unnest(p_lanes) with ordinality o(id, no) join lockkeeper_data.lanes x on x.id = o.id) l
    cross join lateral (select y.*, row_number() over (order by y.run_id, y.attempts, y.place) as nth
                        from (select z.run_id, z.attempts, z.place from lockkeeper_data.waiting z where z.lane_id = l.id
                              order by z.run_id, z.attempts, z.place limit v_depth) y) w
    order by l.priority desc, w.run_id, w.attempts, w.place
  loop
    continue when v_blocked[c.no];
    if p_before_run is not null and (c.priority < p_before_priority or (c.priority = p_before_priority and c.run_id >= p_before_run)) then
      d.more := true;
      exit;
    end if;

    v_full := 0;
    -- The narrowest full key is mostly the youngest: a lane that sleeps there is woken least for nothing.
    for i in reverse cardinality(c.take) .. 1 loop
      k := c.take[i];
      if v_used[k] + c.amounts[i] > v_capacity[k] then v_full := i; exit; end if;
    end loop;

    v_room := true;
    v_at := '{}';
    if v_full = 0 and cardinality(c.look) > 0 then
      v_root := 0;
      for i in 1 .. cardinality(c.look) loop
        if c.look_roots[i] <> v_root then
          exit when i > 1 and v_room;
          v_root := c.look_roots[i];
          v_room := true;
        end if;
        k := c.look[i];
        if v_room and v_used[k] + v_asked[k] + c.look_amounts[i] > v_capacity[k] + v_buffer[k] then
          v_room := false;
          v_at := v_at || i;
        end if;
      end loop;
    end if;

    if v_full > 0 or not v_room then
      v_blocked[c.no] := true;
      v_examined[c.no] := true;
      if v_full > 0 then
        d.asleep_roots := d.asleep_roots || 0;
        d.asleep_keys := d.asleep_keys || d.keys[c.take[v_full]];
        d.asleep_amounts := d.asleep_amounts || c.amounts[v_full];
        v_at := array[0];
      else
        foreach i in array v_at loop
          d.asleep_roots := d.asleep_roots || c.look_roots[i];
          d.asleep_keys := d.asleep_keys || d.keys[c.look[i]];
          d.asleep_amounts := d.asleep_amounts || c.look_amounts[i];
        end loop;
      end if;
      d.asleep_lanes := d.asleep_lanes || array_fill(c.lane_id, array[cardinality(v_at)]);
      d.asleep_runs := d.asleep_runs || array_fill(c.run_id, array[cardinality(v_at)]);
      d.asleep_attempts := d.asleep_attempts || array_fill(c.attempts, array[cardinality(v_at)]);
      d.asleep_places := d.asleep_places || array_fill(c.place, array[cardinality(v_at)]);
      continue;
    end if;

    if cardinality(d.run_ids) >= p_n then
      d.more := true;
      exit;
    end if;

    foreach k in array v_watched loop
      if not v_known[k] then
        v_first[k] := lockkeeper_data.first_watcher(v_counts, d.keys[k], coalesce(v_capacity[k] - v_used[k], 2147483647),
                                                    coalesce(v_capacity[k] + v_buffer[k] - v_used[k] - v_asked[k], 2147483647));
        v_known[k] := true;
      end if;
      v_next := v_first[k];
      if v_next.lane_id is not null and (v_next.priority > c.priority or (v_next.priority = c.priority
           and (v_next.run_id, v_next.attempts, v_next.place) < (c.run_id, c.attempts, c.place))) then
        d.held := true;
        -- An open lane with that key must be owned, to pass the baton.
        i := (select o.no from unnest(p_lanes) with ordinality o(id, no) join lockkeeper_data.lanes l on l.id = o.id
              where d.keys[k] = any (l.keys || l.look_keys || l.ask_keys) order by o.no limit 1);
        v_examined[i] := true;
        exit;
      end if;
    end loop;
    exit when d.held;
    if p_only is not null and c.run_id <> all (p_only) then
      d.more := true;
      exit;
    end if;
    v_examined[c.no] := true;
    d.run_ids := d.run_ids || c.run_id;
    d.attempts := d.attempts || c.attempts;
    d.places := d.places || c.place;
    d.lane_ids := d.lane_ids || c.lane_id;
    for i in 1 .. cardinality(c.take) loop
      k := c.take[i];
      v_used[k] := v_used[k] + c.amounts[i];
      v_known[k] := false;
      d.used[k] := d.used[k] + c.amounts[i];
    end loop;
    for i in 1 .. cardinality(c.ask) loop
      k := c.ask[i];
      v_asked[k] := v_asked[k] + c.ask_amounts[i];
      v_known[k] := false;
      d.asked[k] := d.asked[k] + c.ask_amounts[i];
    end loop;
    -- What comes after the last one read of this lane is not known: nothing later may be granted before it.
    if c.nth = v_depth then
      d.more := true;
      exit;
    end if;
  end loop;

  d.examined := array(select o.id from unnest(p_lanes, v_examined) o(id, examined) where o.examined);
  d.empty := array(select o.id from unnest(p_lanes) o(id)
                   where not exists (select from lockkeeper_data.waiting w where w.lane_id = o.id));
  return d;
end $$;

-- Writes a decision that was made under the locks of all of its keys.
create function lockkeeper_data.write_decision(d lockkeeper_data.decision) returns void
language plpgsql as $$
begin
  perform lockkeeper_data.count_slots(d.keys, d.used, d.asked);
  perform lockkeeper_data.take_slots(d.run_ids, d.places, d.lane_ids);
  delete from lockkeeper_data.waiting w using unnest(d.run_ids, d.places) g(run_id, place)
  where w.run_id = g.run_id and w.place = g.place;

  delete from lockkeeper_data.watches where lane_id = any (d.examined || d.empty);
  insert into lockkeeper_data.watches (lane_id, root, key_id, amount, counts, version_id, priority, run_id, attempts, place)
  select a.lane_id, a.root, a.key_id, a.amount, l.counts, l.version_id, l.priority, a.run_id, a.attempts, a.place
  from unnest(d.asleep_lanes, d.asleep_roots, d.asleep_keys, d.asleep_amounts, d.asleep_runs, d.asleep_attempts, d.asleep_places)
       a(lane_id, root, key_id, amount, run_id, attempts, place)
  join lockkeeper_data.lanes l on l.id = a.lane_id;
  delete from lockkeeper_data.open_lanes where lane_id = any (d.asleep_lanes);

  perform lockkeeper_data.bury_lanes(d.empty);
  perform lockkeeper_data.pass_batons(d.keys);
end $$;

-- The first open lanes in order, of these job versions (null: of all), at most 100. Lanes of an old stamp are passed over.
create function lockkeeper_data.first_open_lanes(p_counts lockkeeper_data.subject_kind, p_versions int[]) returns bigint[]
language plpgsql stable as $$
begin
  return array(
  select f.lane_id
  from (select distinct on (o.lane_id) o.lane_id, o.priority, o.run_id, o.attempts, o.place
        from (select * from lockkeeper_data.open_lanes m
              where m.counts = p_counts and (p_versions is null or m.version_id = any (p_versions))
              order by m.priority desc, m.run_id, m.attempts, m.place limit 400) o
        join lockkeeper_data.lanes l on l.id = o.lane_id
        where l.stamp = lockkeeper_data.current_stamp()
        order by o.lane_id, o.priority desc, o.run_id, o.attempts, o.place) f
  order by f.priority desc, f.run_id, f.attempts, f.place
  limit 100);
end $$;

-- Owns those of the lanes that a chooser needs, in their order, as far as 64 key locks go. Busy ones are passed over;
-- if all are busy, it waits for the first, holding nothing that anybody needs.
create function lockkeeper_data.own_lanes(p_lanes bigint[]) returns bigint[]
language plpgsql as $$
declare
  v_owned bigint[];
  v_cut bigint[] := '{}';
  v_numbers int[] := '{}';
  v_wider int[];
  l record;
begin
  v_owned := array(select id from lockkeeper_data.lanes where id = any (p_lanes) order by id for no key update skip locked);
  if v_owned = '{}' and p_lanes <> '{}' then
    v_owned := array(select id from lockkeeper_data.lanes where id = p_lanes[1] for no key update);
  end if;
  for l in select x.id, x.locks from unnest(p_lanes) with ordinality o(id, no) join lockkeeper_data.lanes x on x.id = o.id
           where o.id = any (v_owned) order by o.no loop
    v_wider := array(select distinct n from unnest(v_numbers || l.locks) n);
    exit when cardinality(v_wider) > 64 and v_cut <> '{}';
    v_numbers := v_wider;
    v_cut := v_cut || l.id;
  end loop;
  return v_cut;
end $$;

create function lockkeeper_data.lock_lane_keys(p_lanes bigint[]) returns void
language plpgsql volatile as $$
begin
  perform lockkeeper_data.lock_keys(array(select distinct n from lockkeeper_data.lanes l cross join lateral unnest(l.locks) n where l.id = any (p_lanes)));
end $$;
