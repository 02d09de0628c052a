-- Lane: new runs, and what waits under limits that have changed, get keys and lane. Each function here is one autocommit call with one lock phase.

-- Gives runs that were just submitted their keys and lane. p_sleep: who lanes again in this call locks lanes after this, and must not hold keys.
create function lockkeeper_data.lane_arrivals(p_n int, p_sleep boolean) returns int
language plpgsql as $$
declare
  v_runs bigint[];
  v_subjects lockkeeper_data.waiting[];
begin
  -- Locked first, looked at in a new statement: their priority may just have been changed.
  v_runs := array(select w.run_id from lockkeeper_data.waiting w where w.lane_id = 0 order by w.run_id, w.attempts, w.place limit p_n for update skip locked);
  if v_runs <> '{}' then
    v_subjects := lockkeeper_data.lanes_of('run', v_runs, array_fill(0, array[cardinality(v_runs)]), p_sleep);
    perform lockkeeper_data.join_lanes(v_subjects);
  end if;
  return cardinality(v_runs);
end $$;

-- The lanes of an old stamp, of the highest priority among them, those whose first subjects come first. Empty ones are the very first.
create function lockkeeper_data.stale_lanes(p_counts lockkeeper_data.subject_kind, p_n int) returns table (lane_id bigint, priority bigint, run_id bigint)
language plpgsql volatile as $$
#variable_conflict use_column
declare
  v_stamp bigint := lockkeeper_data.current_stamp();
  v_priority bigint := (select x.priority from lockkeeper_data.lanes x where x.counts = p_counts and x.stamp < v_stamp order by x.priority desc limit 1);
begin
  return query
    select l.id, l.priority, (select w.run_id from lockkeeper_data.waiting w where w.lane_id = l.id order by w.run_id, w.attempts, w.place limit 1) as first
    from lockkeeper_data.lanes l where l.counts = p_counts and l.stamp < v_stamp and l.priority = v_priority
    order by first nulls first limit p_n;
end $$;

-- Moves what waits in lanes of an old stamp to lanes of the new, as many as fit; what it asked for moves with it.
create function lockkeeper_data.relane(p_counts lockkeeper_data.subject_kind, p_n int) returns int
language plpgsql as $$
declare
  v_stamp bigint := lockkeeper_data.current_stamp();
  v_old bigint[];
  v_subjects lockkeeper_data.waiting[];
  v_lane bigint;
  v_numbers int[];
  v_wider int[];
  v_count int;
  v_fit bigint[] := '{}';
  v_depth int;
  v_runs bigint[]; v_places int[];
  v_keys bigint[];
begin
  v_old := (select o.owned from lockkeeper_data.own_lanes(array(select s.lane_id from lockkeeper_data.stale_lanes(p_counts, 50) s)) o);
  if v_old = '{}' then return 0; end if;
  -- Read r subjects of each lane, as far as the first of the lanes that have more; and lock no others than those.
  v_depth := greatest(20, 4 * p_n / cardinality(v_old));
  select array_agg(x.run_id order by x.run_id, x.place), array_agg(x.place order by x.run_id, x.place) into v_runs, v_places
  from (select h.run_id, h.place
        from (select y.*, min(y.run_id) filter (where y.nth = v_depth) over () as known
              from unnest(v_old) o(lane_id) cross join lateral (
                select z.run_id, z.place, row_number() over (order by z.run_id, z.attempts, z.place) as nth
                from lockkeeper_data.waiting z where z.lane_id = o.lane_id order by z.run_id, z.attempts, z.place limit v_depth) y) h
        where h.known is null or h.run_id <= h.known
        order by h.run_id, h.place limit p_n) x;
  select array_agg(w.run_id), array_agg(w.place) into v_runs, v_places
  from (select y.run_id, y.place from unnest(v_runs, v_places) u(run_id, place)
        join lockkeeper_data.waiting y on y.run_id = u.run_id and y.place = u.place and y.lane_id = any (v_old)
        -- Who holds one is about to take it out of its lane.
        order by y.run_id, y.place for update of y skip locked) w;
  v_subjects := lockkeeper_data.lanes_of(p_counts, v_runs, v_places);

  v_numbers := array(select distinct n from lockkeeper_data.lanes l cross join lateral unnest(l.locks) n where l.id = any (v_old));
  -- A queued run holds and asks for nothing: its new keys need no lock, as when it arrives.
  v_count := case p_counts when 'run' then cardinality(v_subjects) else 0 end;
  while v_count < cardinality(v_subjects) loop
    v_lane := (v_subjects[v_count + 1]).lane_id;
    if v_lane <> all (v_fit) then
      v_wider := array(select distinct n from unnest(v_numbers || (select l.locks from lockkeeper_data.lanes l where l.id = v_lane)) n);
      exit when cardinality(v_wider) > lockkeeper_data.most_locks() and v_fit <> '{}';
      v_numbers := v_wider;
      v_fit := v_fit || v_lane;
    end if;
    v_count := v_count + 1;
  end loop;
  v_subjects := v_subjects[1:v_count];
  perform lockkeeper_data.lock_keys(v_numbers);

  perform lockkeeper_data.count_slots(array_agg(d.key_id), array_agg(0::bigint), array_agg(d.asked)) from (
    select a.key_id, a.amount::bigint as asked
    from unnest(v_subjects) s join lockkeeper_data.waiting w on w.run_id = s.run_id and w.place = s.place
    join lockkeeper_data.lanes l on l.id = w.lane_id cross join lateral unnest(l.ask_keys, l.ask_amounts) a(key_id, amount) where s.place > 0
    union all
    select a.key_id, -a.amount from unnest(v_subjects) u
    join lockkeeper_data.lanes l on l.id = u.lane_id and l.counts = 'step' cross join lateral unnest(l.ask_keys, l.ask_amounts) a(key_id, amount)) d;
  if v_count > 0 then
    perform lockkeeper_data.join_lanes(v_subjects);
  end if;
  delete from lockkeeper_data.watches w where w.lane_id = any (v_old);
  v_keys := array(select distinct k from lockkeeper_data.lanes l cross join lateral unnest(l.keys || l.look_keys || l.ask_keys) k where l.id = any (v_old || v_fit));
  perform lockkeeper_data.bury_lanes(v_old);
  perform lockkeeper_data.pass_batons(v_keys);
  -- Those that somebody holds are left, and are no reason to call again at once.
  return v_count + (select count(*)::int from unnest(v_old) o(id) where not exists (select from lockkeeper_data.lanes l where l.id = o.id));
end $$;

create function lockkeeper_data.stale(p_counts lockkeeper_data.subject_kind) returns boolean
language plpgsql volatile as $$
begin
  return exists (select from lockkeeper_data.lanes l where l.counts = p_counts and l.stamp < (select n.stamp from lockkeeper_data.configuration n));
end $$;

create function lockkeeper.lane(n int default 1000, out laned int, out more boolean, out again boolean, out busy boolean)
language plpgsql
set search_path = pg_catalog, pg_temp set plan_cache_mode = force_generic_plan set jit = off set enable_seqscan = off set enable_bitmapscan = off set enable_hashjoin = off set enable_mergejoin = off set enable_material = off set lock_timeout = '30s' as $$
declare
  v_moved int := 0;
  v_stale lockkeeper_data.subject_kind;
begin
  laned := 0;
  more := false;
  again := false;
  perform lockkeeper_data.check_isolation();
  busy := not pg_try_advisory_xact_lock(5505019530000000000 + 4097);
  if busy then return; end if;
  perform lockkeeper_data.lock_configuration();
  -- Ready steps before runs: a run that looks at their keys must see what they ask.
  v_stale := case when lockkeeper_data.stale('step') then 'step' when lockkeeper_data.stale('run') then 'run' end;
  -- Arrivals first: one of them may come before all that is laned again.
  laned := lockkeeper_data.lane_arrivals(n, v_stale is null);
  more := laned >= n;
  if more then return; end if;
  if v_stale is not null then
    v_moved := lockkeeper_data.relane(v_stale, n);
  end if;
  laned := laned + v_moved;
  more := v_moved > 0;
  again := v_moved > 0;
end $$;
comment on function lockkeeper.lane(int) is
  'Gives new runs their keys and lane, and anew to what waits under limits that have changed since. Answers how many, whether there may be more, and '
  'whether they were laned again: then admit after each call, since there may be a million. busy: another lanes or admits, and nothing was done.';
