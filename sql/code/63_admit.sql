-- Admit: queued runs take their slots, and their first steps are ready. Each function here is one autocommit call with one lock phase.

-- The first queued run in a lane of an old stamp, or null: from there on, nobody is admitted yet.
create function lockkeeper_data.first_stale_run() returns lockkeeper_data.open_lanes
language plpgsql volatile as $$
declare v_first lockkeeper_data.open_lanes;
begin
  if lockkeeper_data.stale('run') then
    select s.lane_id, 'run', null, s.priority, coalesce(s.run_id, 0), 0, 0 into v_first from lockkeeper_data.stale_lanes('run', 1) s;
  end if;
  return v_first;
end $$;

-- Open lanes of runs in the order of their first subjects, the empty ones first: where a lane is known to begin may be out of date.
create function lockkeeper_data.open_lanes_of_runs() returns bigint[]
language plpgsql volatile as $$
begin
  return array(
    select u.id from unnest(lockkeeper_data.first_open_lanes('run', null)) u(id)
    -- Here and elsewhere, offset 0: each is looked up by itself, also if the plan was made when there were few.
    cross join lateral (select x.id, x.priority from lockkeeper_data.lanes x where x.id = u.id offset 0) l
    left join lateral (select x.run_id from lockkeeper_data.waiting x where x.lane_id = l.id order by x.run_id, x.attempts, x.place limit 1) w on true
    order by w.run_id is null desc, l.priority desc, w.run_id);
end $$;

create function lockkeeper.admit(n int default 100, out run_ids bigint[], out more boolean, out busy boolean)
language plpgsql
set search_path = pg_catalog, pg_temp set plan_cache_mode = force_generic_plan set jit = off set enable_seqscan = off set enable_bitmapscan = off set enable_hashjoin = off set enable_mergejoin = off set enable_material = off set lock_timeout = '30s' as $$
declare
  v_chosen bigint[];
  v_lanes bigint[];
  v_cut bigint[];
  v_own record;
  v_before lockkeeper_data.open_lanes;
  v_opened lockkeeper_data.open_lanes;
  d lockkeeper_data.decision;
  v_plan bigint[];
  v_again boolean := false;
  v_numbers bigint[];
  v_roots lockkeeper_data.waiting[];
  v_now timestamptz := lockkeeper.now();
begin
  run_ids := '{}';
  more := false;
  perform lockkeeper_data.check_isolation();
  busy := not pg_try_advisory_xact_lock(5505019530000000000 + 4097);
  if busy then return; end if;
  perform lockkeeper_data.lock_configuration();
  if lockkeeper_data.stale('step') then
    return;
  end if;
  v_chosen := lockkeeper_data.open_lanes_of_runs();
  if v_chosen = '{}' then return; end if;
  -- Nobody is admitted past one in a lane of an old stamp, nor, where that could cost it its room, in a lane for which the locks did not suffice.
  v_before := lockkeeper_data.first_stale_run();
  -- Of many open lanes, only those are owned and locked that this call needs. Nobody else grants from lanes of runs meanwhile.
  d := lockkeeper_data.decide('run', v_chosen, n, null, v_before);
  more := d.more or d.held;
  v_lanes := lockkeeper_data.touched(v_chosen, d);
  v_own := lockkeeper_data.own_lanes(v_lanes);
  v_lanes := v_own.owned;
  v_cut := v_own.cut;
  if v_lanes = '{}' then
    more := false;
    return;
  end if;
  if v_lanes <> v_chosen then d := lockkeeper_data.decide('run', v_lanes, n, null, v_before); end if;
  v_opened := lockkeeper_data.passed_over(v_cut, d);
  if v_opened.run_id is not null then
    v_before := lockkeeper_data.earlier(v_before, v_opened);
    d := lockkeeper_data.decide('run', v_lanes, n, null, v_before);
    v_opened := null;
  end if;
  v_plan := d.run_ids;
  perform lockkeeper_data.lock_runs(v_plan);
  v_roots := lockkeeper_data.lanes_of('step', array_agg(s.run_id), array_agg(s.place))
    from unnest(v_plan) u(id) join lockkeeper_data.steps s on s.run_id = u.id and s.state = 'pending' and s.needs = 0;
  perform lockkeeper_data.lock_lane_keys(v_lanes);

  -- Looked at before the locks: only who admits takes from these lanes, but a run may have been canceled or moved, and room taken by steps.
  -- Or a lane was opened since the choice; from now on, nobody can pass the batons of our keys.
  if v_plan <> '{}' then
    v_opened := lockkeeper_data.opened_since('run', null, v_chosen, null);
    v_before := lockkeeper_data.earlier(v_before, v_opened);
  end if;
  if v_opened.run_id is not null or not lockkeeper_data.still_holds(d)
     or exists (select from unnest(d.run_ids, d.lane_ids) u(id, lane_id)
                where not exists (select from lockkeeper_data.waiting w where w.run_id = u.id and w.place = 0 and w.lane_id = u.lane_id)) then
    d := lockkeeper_data.decide('run', v_lanes, n, v_plan, v_before);
    v_again := true;
  end if;
  -- Worth another call: not all lanes were read or fitted, a subject had to stay behind, or a lane was opened.
  more := more or d.more or v_cut <> '{}' or cardinality(v_chosen) >= 100;
  more := lockkeeper_data.write_decision(d) or d.held or v_again or (more and (d.run_ids <> '{}' or d.asleep_lanes <> '{}' or d.empty <> '{}'));
  if d.run_ids = '{}' then return; end if;

  run_ids := d.run_ids;
  -- Numbered apart: which row of a join comes first is the planner's choice.
  v_numbers := array(select nextval('lockkeeper_data.admissions') from unnest(run_ids));
  update lockkeeper_data.runs r set state = 'admitted', admitted_at = v_now, admission = o.admission
  from unnest(run_ids, v_numbers) o(id, admission) where r.id = o.id;
  insert into lockkeeper_data.deadlines (run_id, deadline, at)
  select r.id, 'timeout', v_now + r.timeout_ms * interval '1 millisecond'
  from unnest(run_ids) u(id) join lockkeeper_data.runs r on r.id = u.id where r.timeout_ms is not null;
  if run_ids <> v_plan then
    v_roots := array(select t::lockkeeper_data.waiting from unnest(v_roots) t where t.run_id = any (run_ids));
  end if;
  update lockkeeper_data.steps s set state = 'ready' from unnest(v_roots) t where s.run_id = t.run_id and s.place = t.place;
  perform lockkeeper_data.join_lanes(v_roots);
  insert into lockkeeper_data.ticket_changes (run_id, change) select u, 'close' from unnest(run_ids) u on conflict do nothing;
end $$;
comment on function lockkeeper.admit(int) is
  'Admits up to n queued runs, in the order of priority and submission: they take their slots, and their first steps are ready. '
  'Answers them in the order of admission, and whether it is worth calling again. While another admits, it does nothing, and answers busy: that one may not have seen what is new.';

-- Open lanes of steps that no live lease serves go to sleep at the key of their job version.
create function lockkeeper.sleep_unserved() returns int
language plpgsql
set search_path = pg_catalog, pg_temp set plan_cache_mode = force_generic_plan set jit = off set enable_seqscan = off set enable_bitmapscan = off set enable_hashjoin = off set enable_mergejoin = off set enable_material = off set lock_timeout = '30s' as $$
declare
  v_lanes bigint[];
  d lockkeeper_data.decision;
begin
  perform lockkeeper_data.lock_configuration();
  v_lanes := (select o.owned from lockkeeper_data.own_lanes(lockkeeper_data.first_open_lanes('step', lockkeeper_data.unserved_versions())) o);
  if v_lanes = '{}' then return 0; end if;
  perform lockkeeper_data.lock_lane_keys(v_lanes);
  d := lockkeeper_data.decide('step', v_lanes, 0);
  perform lockkeeper_data.write_decision(d);
  return cardinality(d.asleep_lanes) + cardinality(d.empty);
end $$;
comment on function lockkeeper.sleep_unserved() is
  'Puts to sleep what is ready but known to no live worker, so that no tick looks at it again until one registers. Answers how many lanes.';
