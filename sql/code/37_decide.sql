-- The chooser: which subjects of open lanes are granted, which lanes sleep, and where.

-- The first watcher of a key that wants no more than the room, as taker or as looker, but for some lanes.
create function lockkeeper_data.first_watcher(p_counts lockkeeper_data.subject_kind, p_key bigint, p_room bigint, p_look bigint, p_but bigint[]) returns lockkeeper_data.watches
language plpgsql stable as $$
declare
  w lockkeeper_data.watches;
  v_takes boolean := lockkeeper_data.fits_any(p_key, p_room);
begin
  select x.* into w from (
    (select * from lockkeeper_data.watches t where v_takes and t.root = 0 and t.key_id = p_key and t.counts = p_counts and t.amount <= p_room and t.lane_id <> all (p_but)
     order by t.priority desc, t.run_id, t.attempts, t.place limit 1)
    union all
    (select * from lockkeeper_data.watches t where p_look > 0 and t.root > 0 and t.key_id = p_key and t.counts = p_counts and t.amount <= p_look and t.lane_id <> all (p_but)
     order by t.priority desc, t.run_id, t.attempts, t.place limit 1)) x
  order by x.priority desc, x.run_id, x.attempts, x.place limit 1;
  return w;
end $$;

-- Decides, in order and without writing, which of the first subjects of some lanes are granted, at most so many, and which lanes must sleep.
-- Exact where the caller owns the lanes and holds the locks of all of their keys; else what it seems.
-- Nobody is granted past one that comes before him and still sleeps beside room, until the batons of the open lanes here have reached it (held).
-- A lane among them that sleeps is decided like the others.
-- p_only: grant no other runs than these. p_before: look at no subject from there on. p_keys, p_used, p_asked: what the caller changes there, not yet counted.
create function lockkeeper_data.decide(p_counts lockkeeper_data.subject_kind, p_lanes bigint[], p_n int, p_only bigint[] default null, p_before lockkeeper_data.open_lanes default null,
  p_keys bigint[] default '{}', p_used bigint[] default '{}', p_asked bigint[] default '{}')
returns lockkeeper_data.decision
language plpgsql as $$
declare
  d lockkeeper_data.decision;
  c record;
  -- Arrays grow in place only as variables of their own.
  g_runs bigint[] := '{}'; g_attempts int[] := '{}'; g_places int[] := '{}'; g_lanes bigint[] := '{}';
  v_keys bigint[]; v_taken bigint[]; v_asks bigint[];
  v_used bigint[]; v_asked bigint[]; v_capacity bigint[]; v_buffer bigint[];
  v_blocked boolean[] := array_fill(false, array[cardinality(p_lanes)]);
  v_examined boolean[] := v_blocked;
  v_read int[] := array_fill(0, array[cardinality(p_lanes)]);
  v_depth int := greatest(8, 2 * p_n / cardinality(p_lanes));
  v_bounded boolean := p_before.priority is not null;
  v_granted int := 0; v_full int; v_root int; v_room boolean; v_at int[]; i int; k int;
  v_watched int[]; v_first lockkeeper_data.watches[]; v_known boolean[]; v_next lockkeeper_data.watches;
begin
  d.asleep_lanes := '{}'; d.asleep_roots := '{}'; d.asleep_keys := '{}'; d.asleep_amounts := '{}';
  d.asleep_runs := '{}'; d.asleep_attempts := '{}'; d.asleep_places := '{}'; d.more := false; d.held := false; d.empty := '{}';

  -- One after the other as they are: ordered in each array, each would be sorted by itself.
  select array_agg(u.key_id), array_agg(coalesce(n.in_use, 0)), array_agg(coalesce(n.asked, 0)),
         array_agg(coalesce(m.override, n.capacity, m.capacity)), array_agg(coalesce(m.look_buffer, 0)),
         array_agg(null::lockkeeper_data.watches), array_agg(false),
         -- In the order of the index: where all sleep at one key, Postgres believes that any index finds one at once, and reads all for each key that has none.
         array_positions(array_agg(
           exists (select from (select from lockkeeper_data.watches x where x.root = 0 and x.key_id = u.key_id and x.counts = p_counts
                                order by x.priority desc, x.run_id, x.attempts, x.place limit 1) w)
           or exists (select from (select from lockkeeper_data.watches x where x.root > 0 and x.key_id = u.key_id and x.counts = p_counts
                                   order by x.priority desc, x.run_id, x.attempts, x.place limit 1) w)), true)
  into v_keys, v_used, v_asked, v_capacity, v_buffer, v_first, v_known, v_watched
  from (select distinct x.key_id from unnest(p_lanes) o(id) join lockkeeper_data.lanes l on l.id = o.id
        cross join lateral unnest(l.keys || l.look_keys || l.ask_keys) x(key_id)) u
  left join lockkeeper_data.counters n on n.key_id = u.key_id
  left join lockkeeper_data.limits m on m.id = n.limit_id;
  for i in 1 .. coalesce(cardinality(p_keys), 0) loop
    k := array_position(v_keys, p_keys[i]);
    if k is not null then
      v_used[k] := v_used[k] + p_used[i];
      v_asked[k] := v_asked[k] + p_asked[i];
    end if;
  end loop;
  -- Another may have buried what was chosen without its lock.
  v_keys := coalesce(v_keys, '{}');
  d.seen_used := v_used; d.seen_asked := v_asked; d.seen_capacity := v_capacity;
  v_taken := array_fill(0::bigint, array[cardinality(v_keys)]);
  v_asks := v_taken;

  for c in
    select o.no, l.id as lane_id, l.priority, w.run_id, w.attempts, w.place,
           l.keys, l.amounts, l.look_roots, l.look_keys, l.look_amounts, l.ask_keys, l.ask_amounts
    from unnest(p_lanes) with ordinality o(id, no) join lockkeeper_data.lanes l on l.id = o.id
    left join lateral (select z.run_id, z.attempts, z.place from lockkeeper_data.waiting z where z.lane_id = l.id
                       order by z.run_id, z.attempts, z.place limit v_depth) w on true
    order by w.run_id is null desc, l.priority desc, w.run_id, w.attempts, w.place
  loop
    if c.run_id is null then
      d.empty := d.empty || c.lane_id;
      continue;
    end if;
    v_read[c.no] := v_read[c.no] + 1;
    continue when v_blocked[c.no];
    if v_bounded and (c.priority < p_before.priority or (c.priority = p_before.priority
         and (c.run_id, c.attempts, c.place) >= (p_before.run_id, p_before.attempts, p_before.place))) then
      d.more := true;
      exit;
    end if;

    v_full := 0;
    -- The narrowest full key is mostly the youngest: a lane that sleeps there is woken least for nothing.
    for i in reverse cardinality(c.keys) .. 1 loop
      k := array_position(v_keys, c.keys[i]);
      if v_used[k] + c.amounts[i] > v_capacity[k] then v_full := i; exit; end if;
    end loop;

    v_room := true;
    v_at := '{}';
    if v_full = 0 and cardinality(c.look_keys) > 0 then
      v_root := 0;
      for i in 1 .. cardinality(c.look_keys) loop
        if c.look_roots[i] <> v_root then
          exit when i > 1 and v_room;
          v_root := c.look_roots[i];
          v_room := true;
        end if;
        k := array_position(v_keys, c.look_keys[i]);
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
        d.asleep_keys := d.asleep_keys || c.keys[v_full];
        d.asleep_amounts := d.asleep_amounts || c.amounts[v_full];
        v_at := array[0];
      else
        foreach i in array v_at loop
          d.asleep_roots := d.asleep_roots || c.look_roots[i];
          d.asleep_keys := d.asleep_keys || c.look_keys[i];
          d.asleep_amounts := d.asleep_amounts || c.look_amounts[i];
        end loop;
      end if;
      d.asleep_lanes := d.asleep_lanes || array_fill(c.lane_id, array[cardinality(v_at)]);
      d.asleep_runs := d.asleep_runs || array_fill(c.run_id, array[cardinality(v_at)]);
      d.asleep_attempts := d.asleep_attempts || array_fill(c.attempts, array[cardinality(v_at)]);
      d.asleep_places := d.asleep_places || array_fill(c.place, array[cardinality(v_at)]);
      continue;
    end if;

    if v_granted >= p_n then
      d.more := true;
      exit;
    end if;

    foreach k in array v_watched loop
      if not v_known[k] then
        v_first[k] := lockkeeper_data.first_watcher(p_counts, v_keys[k], coalesce(v_capacity[k] - v_used[k], 2147483647),
                                                    coalesce(v_capacity[k] + v_buffer[k] - v_used[k] - v_asked[k], 2147483647), p_lanes);
        v_known[k] := true;
      end if;
      v_next := v_first[k];
      if v_next.lane_id is not null and (v_next.priority > c.priority or (v_next.priority = c.priority
           and (v_next.run_id, v_next.attempts, v_next.place) < (c.run_id, c.attempts, c.place))) then
        d.held := true;
        -- An open lane with that key must be owned, to pass the baton.
        i := (select o.no from unnest(p_lanes) with ordinality o(id, no) join lockkeeper_data.lanes l on l.id = o.id
              where v_keys[k] = any (l.keys || l.look_keys || l.ask_keys) order by o.no limit 1);
        if i is not null then v_examined[i] := true; end if;
        exit;
      end if;
    end loop;
    exit when d.held;
    if p_only is not null and c.run_id <> all (p_only) then
      d.more := true;
      exit;
    end if;
    v_examined[c.no] := true;
    v_granted := v_granted + 1;
    g_runs[v_granted] := c.run_id;
    g_attempts[v_granted] := c.attempts;
    g_places[v_granted] := c.place;
    g_lanes[v_granted] := c.lane_id;
    for i in 1 .. cardinality(c.keys) loop
      k := array_position(v_keys, c.keys[i]);
      v_used[k] := v_used[k] + c.amounts[i];
      v_known[k] := false;
      v_taken[k] := v_taken[k] + c.amounts[i];
    end loop;
    for i in 1 .. cardinality(c.ask_keys) loop
      k := array_position(v_keys, c.ask_keys[i]);
      v_asked[k] := v_asked[k] + c.ask_amounts[i];
      v_known[k] := false;
      v_asks[k] := v_asks[k] + c.ask_amounts[i];
    end loop;
    -- What comes after the last one read of this lane is not known: nothing later may be granted before it.
    if v_read[c.no] = v_depth then
      d.more := true;
      exit;
    end if;
  end loop;

  d.run_ids := g_runs; d.attempts := g_attempts; d.places := g_places; d.lane_ids := g_lanes;
  d.keys := v_keys; d.used := v_taken; d.asked := v_asks;
  d.examined := '{}';
  for i in 1 .. cardinality(p_lanes) loop
    if v_examined[i] then d.examined := d.examined || p_lanes[i]; end if;
  end loop;
  return d;
end $$;

-- Whether a decision about lanes that the caller owned all the time still holds, now that it has the locks of their keys: no key has less room
-- than it seemed to have, and where lanes are to sleep, none has more.
create function lockkeeper_data.still_holds(d lockkeeper_data.decision) returns boolean
language plpgsql as $$
begin
  return not exists (
    select from unnest(d.keys, d.seen_used, d.seen_asked, d.seen_capacity) s(key_id, used, asked, capacity)
    left join lockkeeper_data.counters c on c.key_id = s.key_id
    left join lockkeeper_data.limits l on l.id = c.limit_id
    where coalesce(l.override, c.capacity, l.capacity) is distinct from s.capacity
       or coalesce(c.in_use, 0) > s.used or coalesce(c.asked, 0) > s.asked
       or (d.asleep_lanes <> '{}' and (coalesce(c.in_use, 0) < s.used or coalesce(c.asked, 0) < s.asked)));
end $$;

-- Writes a decision that was made under the locks of all of its keys, and counts it together with what else the caller changes at keys: what is
-- given back and taken again is the same. Answers whether it opened a lane.
create function lockkeeper_data.write_decision(d lockkeeper_data.decision, p_keys bigint[] default '{}', p_used bigint[] default '{}', p_asked bigint[] default '{}')
returns boolean
language plpgsql as $$
begin
  perform lockkeeper_data.count_slots(p_keys || d.keys, p_used || d.used, p_asked || d.asked), lockkeeper_data.take_slots(d.run_ids, d.places, d.lane_ids);
  delete from lockkeeper_data.waiting w using unnest(d.run_ids, d.places) g(run_id, place)
  where w.run_id = g.run_id and w.place = g.place;

  -- What sleeps on where it slept is not written again.
  delete from lockkeeper_data.watches w where w.lane_id = any (d.examined || d.empty)
    and not exists (select from unnest(d.asleep_lanes, d.asleep_roots) a(lane_id, root) where a.lane_id = w.lane_id and a.root = w.root);
  insert into lockkeeper_data.watches as w (lane_id, root, key_id, amount, counts, version_id, priority, run_id, attempts, place)
  select a.lane_id, a.root, a.key_id, a.amount, l.counts, l.version_id, l.priority, a.run_id, a.attempts, a.place
  from unnest(d.asleep_lanes, d.asleep_roots, d.asleep_keys, d.asleep_amounts, d.asleep_runs, d.asleep_attempts, d.asleep_places)
       a(lane_id, root, key_id, amount, run_id, attempts, place)
  join lockkeeper_data.lanes l on l.id = a.lane_id
  on conflict (lane_id, root) do update set key_id = excluded.key_id, amount = excluded.amount, run_id = excluded.run_id, attempts = excluded.attempts, place = excluded.place
  where (w.key_id, w.amount, w.run_id, w.attempts, w.place) is distinct from (excluded.key_id, excluded.amount, excluded.run_id, excluded.attempts, excluded.place);
  if d.asleep_lanes <> '{}' then
    delete from lockkeeper_data.open_lanes where lane_id = any (d.asleep_lanes);
  end if;
  -- Chosen while open, a lane may have been put to sleep by another before it was owned: what does not sleep now must be open.
  if not d.examined || d.empty <@ d.asleep_lanes then
    insert into lockkeeper_data.open_lanes (lane_id, counts, version_id, priority, run_id, attempts, place)
    select l.id, l.counts, l.version_id, l.priority, 0, 0, 0 from lockkeeper_data.lanes l
    where l.id = any (d.examined || d.empty) and l.id <> all (d.asleep_lanes)
      and (select true from lockkeeper_data.open_lanes o where o.lane_id = l.id limit 1) is null;
  end if;

  if d.empty <> '{}' then
    perform lockkeeper_data.bury_lanes(d.empty);
  end if;
  return lockkeeper_data.pass_batons(p_keys || d.keys);
end $$;
