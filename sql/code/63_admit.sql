-- Admit: queued runs take their slots, and their first steps are ready. Each function here is one autocommit call with one lock phase.

-- The first queued run that has a lane of an old stamp, or null: from there on, nobody is admitted yet.
create function lockkeeper_data.first_stale_run(out priority bigint, out run_id bigint)
language plpgsql volatile as $$
#variable_conflict use_column
declare v_stamp bigint := lockkeeper_data.current_stamp();
begin
  select l.priority, w.run_id into priority, run_id
  from (select max(x.priority) as priority from lockkeeper_data.lanes x where x.counts = 'run' and x.stamp < v_stamp) m
  join lockkeeper_data.lanes l on l.counts = 'run' and l.stamp < v_stamp and l.priority = m.priority
  cross join lateral (select y.run_id from lockkeeper_data.waiting y where y.lane_id = l.id order by y.run_id, y.attempts, y.place limit 1) w
  order by w.run_id limit 1;
end $$;

create function lockkeeper.admit(n int default 100, out run_ids bigint[], out more boolean)
language plpgsql
set search_path = pg_catalog, pg_temp set plan_cache_mode = force_generic_plan set jit = off set enable_seqscan = off set enable_bitmapscan = off set enable_hashjoin = off set enable_mergejoin = off set enable_material = off set lock_timeout = '30s' as $$
declare
  v_lanes bigint[];
  v_count int;
  v_before record;
  d lockkeeper_data.decision;
  v_plan bigint[];
  v_roots lockkeeper_data.subject[];
  v_root_lanes bigint[];
  v_now timestamptz := lockkeeper.now();
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
  v_count := cardinality(v_lanes);
  v_lanes := lockkeeper_data.own_lanes(v_lanes);
  if v_lanes = '{}' then return; end if;
  d := lockkeeper_data.decide(v_lanes, n, null, v_before.priority, v_before.run_id);
  v_plan := d.run_ids;
  perform lockkeeper_data.lock_runs(v_plan);
  v_roots := array(
    select s::lockkeeper_data.subject
    from (select array_agg(r.id) as run_ids, array_agg(js.place) as places
          from unnest(v_plan) u(id) join lockkeeper_data.runs r on r.id = u.id
          join lockkeeper_data.job_steps js on js.version_id = r.version_id and js.after = '{}') x
    cross join lateral lockkeeper_data.step_subjects(x.run_ids, x.places) s);
  v_root_lanes := lockkeeper_data.lanes_of('step', v_roots);
  perform lockkeeper_data.lock_lane_keys(v_lanes);

  -- Looked at before the locks: only who admits takes from these lanes, but a run may have been canceled, and room taken by steps.
  if not lockkeeper_data.still_holds(d)
     or exists (select from unnest(v_plan) u(id) where not exists (select from lockkeeper_data.waiting w where w.run_id = u.id and w.place = 0)) then
    d := lockkeeper_data.decide(v_lanes, n, v_plan, v_before.priority, v_before.run_id);
  end if;
  -- Worth another call: not all lanes were read or fitted, a subject had to stay behind, or a lane was opened.
  more := d.more or cardinality(v_lanes) < v_count or v_count >= 100;
  more := lockkeeper_data.write_decision(d) or d.held or (more and (d.run_ids <> '{}' or d.asleep_lanes <> '{}' or d.empty <> '{}'));
  if d.run_ids = '{}' then return; end if;

  run_ids := d.run_ids;
  update lockkeeper_data.runs r set state = 'admitted', admitted_at = v_now, admission = o.admission
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
set search_path = pg_catalog, pg_temp set plan_cache_mode = force_generic_plan set jit = off set enable_seqscan = off set enable_bitmapscan = off set enable_hashjoin = off set enable_mergejoin = off set enable_material = off set lock_timeout = '30s' as $$
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
