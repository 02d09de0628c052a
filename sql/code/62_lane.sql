-- Lane: new runs, and what waits under limits that have changed, get keys and lane. Each function here is one autocommit call with one lock phase.

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
    array(select w.run_id from lockkeeper_data.waiting w where w.lane_id = 0 order by w.run_id, w.attempts, w.place limit p_n for update skip locked)) s);
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
  v_stamp bigint := lockkeeper_data.current_stamp();
  v_old bigint[];
  v_subjects lockkeeper_data.subject[];
  v_lanes bigint[];
  v_numbers int[];
  v_wider int[];
  v_count int := 0;
  v_keys bigint[];
begin
  v_old := lockkeeper_data.own_lanes(array(select l.id from lockkeeper_data.lanes l
    where l.counts = p_counts and l.stamp < v_stamp order by l.priority desc, l.id limit 50));
  if v_old = '{}' then return 0; end if;
  v_subjects := array(
    select s::lockkeeper_data.subject
    from (select array_agg(w.run_id) as run_ids, array_agg(w.place) as places
          from (select x.run_id, x.place from unnest(v_old) o(lane_id) cross join lateral (
                  select y.run_id, y.place from lockkeeper_data.waiting y where y.lane_id = o.lane_id
                  order by y.run_id, y.attempts, y.place limit p_n for update) x
                order by x.run_id, x.place limit p_n) w) w
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
declare v_stamp bigint := lockkeeper_data.current_stamp();
begin
  return exists (select from lockkeeper_data.lanes l where l.counts = p_counts and l.stamp < v_stamp);
end $$;

create function lockkeeper.lane(n int default 1000, out laned int, out more boolean)
language plpgsql
set search_path = pg_catalog, pg_temp set plan_cache_mode = force_generic_plan set jit = off set enable_seqscan = off set enable_bitmapscan = off set enable_hashjoin = off set enable_mergejoin = off set enable_material = off set lock_timeout = '30s' as $$
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
    more := laned >= n;
    return;
  end if;
  more := laned > 0;
end $$;
comment on function lockkeeper.lane(int) is
  'Gives new runs their keys and lane, and anew to what waits under limits that have changed since. Answers how many, and whether there may be more.';
