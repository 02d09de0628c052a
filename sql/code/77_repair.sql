-- The audit in parts, each of which is cheap; and what mends, under the same locks, what was found.

create function lockkeeper.audit_keys() returns table (violation text, detail text)
language sql stable
-- Reads whole tables, whatever was known of their size when it was planned.
set search_path = pg_catalog, pg_temp set jit = off set enable_nestloop = off as $$
  select v.violation, v.detail from lockkeeper_data.violations_of_keys() v
$$;
comment on function lockkeeper.audit_keys() is
  'What must never be with keys, their counters and slots, as in the view violations: empty in a sound database. Reads all keys and slots, and of what waits only the ready steps.';

create function lockkeeper.audit_lanes() returns table (violation text, detail text)
language sql stable
set search_path = pg_catalog, pg_temp set jit = off set enable_nestloop = off as $$
  select v.violation, v.detail from lockkeeper_data.violations_of_lanes() v
$$;
comment on function lockkeeper.audit_lanes() is
  'What must never be with lanes, such as one that sleeps beside room, as in the view violations: empty in a sound database. Reads all lanes, not what waits in them.';

create function lockkeeper.audit_runs(after bigint, n int, out upto bigint, out violations jsonb, out last bigint)
language plpgsql stable
set search_path = pg_catalog, pg_temp set plan_cache_mode = force_generic_plan set jit = off set enable_seqscan = off set enable_bitmapscan = off set enable_hashjoin = off set enable_mergejoin = off set enable_material = off as $$
begin
  select case when count(*) = n then max(s.run_id) end into upto
  from (select x.run_id from lockkeeper_data.steps x where x.run_id > after order by x.run_id, x.place limit n) s;
  select coalesce(jsonb_agg(jsonb_build_object('violation', v.violation, 'detail', v.detail)), '[]') into violations
  from lockkeeper_data.violations_of_runs(after, coalesce(upto, 9223372036854775807)) v;
  last := (select max(r.id) from lockkeeper_data.runs r);
end $$;
comment on function lockkeeper.audit_runs(bigint, int) is
  'What must never be with the next runs after this id, as many as have n steps: an array of { violation, detail } as in the view violations, empty in a sound database. '
  'upto: the last run that it looked at, null: to the end. last: the youngest run there is, so that a walk can end while ever more are submitted.';

-- What must never be, with all keys and lanes and the runs of a range.
create function lockkeeper_data.found_wrong(p_after bigint, p_upto bigint) returns lockkeeper.violations[]
language plpgsql volatile as $$
begin
  return array(
    select v::lockkeeper.violations from (
      select * from lockkeeper_data.violations_of_keys() union all select * from lockkeeper_data.violations_of_lanes()
      union all select * from lockkeeper_data.violations_of_runs(p_after, p_upto)) v);
end $$;

-- Takes away what hangs off runs and steps and must not: their states are the truth.
create function lockkeeper_data.mend_rows(p_found lockkeeper.violations[]) returns void
language plpgsql as $$
begin
  update lockkeeper_data.steps s set state = 'canceled' from unnest(p_found) f
  where f.violation = 'ended run has a step that has not ended' and s.run_id = f.run_id and s.place = f.place;
  delete from lockkeeper_data.attempts a using unnest(p_found) f
  where a.run_id = f.run_id and a.place = f.place
    and not exists (select from lockkeeper_data.steps s where s.run_id = a.run_id and s.place = a.place and s.state = 'running' and s.attempts = a.attempt);
  delete from lockkeeper_data.backoffs b using unnest(p_found) f
  where b.run_id = f.run_id and b.place = f.place and f.violation in ('waits and should not', 'ended run has a step that has not ended');
  -- Who waits twice keeps the later of both, its backoff. A run arrives once more, and a step below.
  delete from lockkeeper_data.waiting w using unnest(p_found) f
  where w.run_id = f.run_id and w.place = f.place
    and f.violation in ('waits and should not', 'ended run has a step that has not ended', 'waits twice', 'waits in no lane', 'waits in a lane that is not its own');
  delete from lockkeeper_data.deadlines d using unnest(p_found) f
  where f.violation = 'deadline of a run that is not live' and d.run_id = f.run_id;
  insert into lockkeeper_data.deadlines (run_id, deadline, at)
  select r.id, 'timeout', r.admitted_at + r.timeout_ms * interval '1 millisecond' from unnest(p_found) f join lockkeeper_data.runs r on r.id = f.run_id
  where f.violation = 'run with a timeout has no deadline';
end $$;

-- A step that runs for nobody was lost.
create function lockkeeper_data.lose_steps(p_run_id bigint) returns void
language plpgsql as $$
declare v_lost lockkeeper_data.ending[];
begin
  v_lost := array(
    select row(0, s.run_id, s.place, s.attempts, 'lost', null, null)::lockkeeper_data.ending from lockkeeper_data.steps s
    where s.run_id = p_run_id and s.state = 'running'
      and not exists (select from lockkeeper_data.attempts a where a.run_id = s.run_id and a.place = s.place)
      and not exists (select from lockkeeper_data.outcomes o where o.run_id = s.run_id and o.place = s.place and o.attempt = s.attempts));
  if v_lost = '{}' then return; end if;
  insert into lockkeeper_data.attempts (run_id, place, attempt, lease_id, claim_number, started_at)
  select l.run_id, l.place, l.attempt, gen_random_uuid(), 0, lockkeeper.now() from unnest(v_lost) l;
  perform lockkeeper_data.change_steps(v_lost, '{}', '{}');
end $$;

-- Has the steps of a run wait that are ready, or would be, and skips those that never will be.
create function lockkeeper_data.mend_steps(p_run_id bigint) returns void
language plpgsql as $$
declare v_changes lockkeeper_data.step_change[];
begin
  update lockkeeper_data.steps s set needs = n.unmet from lockkeeper_data.needs_of_runs(p_run_id - 1, p_run_id) n
  where s.run_id = n.run_id and s.place = n.place and s.needs <> n.unmet;
  v_changes := array(
    select row(s.run_id, s.place, 0, s.state, 'ready', 0, 0, 0, 0)::lockkeeper_data.step_change
    from lockkeeper_data.steps s left join lockkeeper_data.needs_of_runs(p_run_id - 1, p_run_id) n on n.place = s.place
    where s.run_id = p_run_id and (n.unmet = 0 or s.state = 'ready')
      and not exists (select from lockkeeper_data.waiting w where w.run_id = s.run_id and w.place = s.place)
      and not exists (select from lockkeeper_data.backoffs b where b.run_id = s.run_id and b.place = s.place)
    union all
    select distinct row(s.run_id, s.place, 0, s.state, 'skipped', 0, 0, 0, 0)::lockkeeper_data.step_change
    from lockkeeper_data.needs_of_runs(p_run_id - 1, p_run_id) n join lockkeeper_data.runs r on r.id = n.run_id
    join lockkeeper_data.job_steps js on js.version_id = r.version_id and js.place = n.place
    join lockkeeper_data.steps s on s.run_id = n.run_id and s.state = 'pending' and (s.place = n.place or s.place = any (js.descendants))
    where n.doomed);
  if v_changes <> '{}' then
    perform lockkeeper_data.change_steps('{}', v_changes, '{}');
  end if;
end $$;

-- Has a live run go on, or end, as its steps are. With steps missing nobody knows what it should do.
create function lockkeeper_data.mend_run(p_run_id bigint) returns void
language plpgsql as $$
declare
  r lockkeeper_data.runs;
  v_now timestamptz := lockkeeper.now();
  v_steps lockkeeper_data.step_change[] := array(
    select row(s.run_id, s.place, 0, s.state, s.state, 0, 0, 0, 0)::lockkeeper_data.step_change from lockkeeper_data.steps s where s.run_id = p_run_id);
  v_left int := (select count(*) from unnest(v_steps) s where s.state in ('pending', 'ready', 'running'));
begin
  select x.* into r from lockkeeper_data.runs x join lockkeeper_data.job_versions v on v.id = x.version_id
  where x.id = p_run_id and x.state in ('queued', 'admitted') and v.step_count = cardinality(v_steps);
  if not found then return; end if;
  if v_left = 0 then
    update lockkeeper_data.runs x set steps_left = cardinality(v_steps), canceling = x.canceling or exists (select from unnest(v_steps) s where s.state = 'canceled')
    where x.id = p_run_id;
    perform lockkeeper_data.change_steps('{}', v_steps, '{}');
    insert into lockkeeper_data.ticket_changes (run_id, change) select p_run_id, 'close' where r.state = 'queued' on conflict do nothing;
    return;
  end if;
  update lockkeeper_data.runs x set steps_left = v_left where x.id = p_run_id and x.steps_left <> v_left;
  perform lockkeeper_data.lose_steps(p_run_id);
  perform lockkeeper_data.mend_steps(p_run_id);
  if r.state = 'queued' and not exists (select from lockkeeper_data.waiting w where w.run_id = p_run_id and w.place = 0)
     and not exists (select from lockkeeper_data.backoffs b where b.run_id = p_run_id and b.place = 0) then
    insert into lockkeeper_data.backoffs (run_id, place, ready_at) select p_run_id, 0, r.start_at where r.start_at > v_now;
    insert into lockkeeper_data.waiting (lane_id, run_id, attempts, place) select 0, p_run_id, 0, 0 where not coalesce(r.start_at > v_now, false);
  end if;
end $$;

-- Makes counters that are missing and not those of holders. What cannot be made again goes, and all that waits is laned again, in order.
create function lockkeeper_data.mend_keys(p_keys bigint[]) returns void
language plpgsql as $$
begin
  insert into lockkeeper_data.counters (key_id, limit_id, in_use, asked, capacity)
  select k.id, k.limit_id, 0, 0, case when l.counts is null then -1 end
  from lockkeeper_data.keys k join lockkeeper_data.limits l on l.id = k.limit_id
  where k.id = any (p_keys) and l.capacity_attribute is null and not exists (select from lockkeeper_data.counters c where c.key_id = k.id);
  perform lockkeeper_data.count_workers(array(select v.id from lockkeeper_data.job_versions v where v.workers_key = any (p_keys)));
  with keys as (
    delete from lockkeeper_data.keys k where k.id = any (p_keys) and not exists (select from lockkeeper_data.counters c where c.key_id = k.id) returning k.id
  ), counters as (
    delete from lockkeeper_data.counters c where c.key_id = any (p_keys) and not exists (select from lockkeeper_data.keys k where k.id = c.key_id) returning c.key_id
  )
  update lockkeeper_data.configuration set version = version + 1, stamp = stamp + 1 where exists (select from keys) or exists (select from counters);
end $$;

-- Counts anew what ready steps ask.
create function lockkeeper_data.recount_asked() returns void
language plpgsql as $$
begin
  update lockkeeper_data.counters c set asked = n.asked
  from (select x.key_id, coalesce(a.asked, 0) as asked from lockkeeper_data.counters x left join lockkeeper_data.asks a on a.key_id = x.key_id) n
  where c.key_id = n.key_id and c.asked <> n.asked;
end $$;

-- Opens the lanes that nobody would open. Last, when all is counted.
create function lockkeeper_data.mend_lanes(p_found lockkeeper.violations[]) returns void
language plpgsql as $$
begin
  perform lockkeeper_data.count_workers(array(
    select v.id from unnest(p_found) f join lockkeeper_data.job_versions v on v.workers_key = f.key_id
    where f.violation = 'key of workers is not as the leases are'));
  insert into lockkeeper_data.open_lanes (lane_id, counts, version_id, priority, run_id, attempts, place)
  select l.id, l.counts, l.version_id, l.priority, 0, 0, 0 from unnest(p_found) f join lockkeeper_data.lanes l on l.id = f.lane_id
  where f.violation = 'lane is neither open nor asleep';
  perform lockkeeper_data.pass_batons(array(
    select distinct v.key_id from lockkeeper_data.violations_of_lanes() v where v.violation = 'lane sleeps beside room'));
end $$;

-- What repair does about each, for those who read its log.
create function lockkeeper_data.repair_of(p_violation text) returns text
language sql immutable
return case p_violation
  when 'counter is not its slots' then 'counted anew'
  when 'slot without counter' then 'slots and counters are made anew from what is live'
  when 'slots are not what live subjects take' then 'slots and counters are made anew from what is live'
  when 'asked is not what ready steps ask' then 'counted anew'
  when 'key of workers is not as the leases are' then 'opened or shut as the leases are'
  when 'key without counter, or counter without key' then 'the counter is made anew, or what waits gets its keys anew'
  when 'lane is neither open nor asleep' then 'opened'
  when 'lane sleeps beside room' then 'the first at that key are woken'
  when 'run should have ended' then 'its steps are counted anew; with none left it ends as they did'
  when 'ended run has a step that has not ended' then 'the step is canceled'
  when 'queued run does not wait' then 'it arrives once more'
  when 'ready step does not wait' then 'it waits again'
  when 'pending step waits for other steps than it should' then 'its needs are counted anew: it is ready, or skipped, or waits for those'
  when 'waits and should not' then 'it waits no longer'
  when 'waits in no lane' then 'it gets a lane'
  when 'waits in a lane that is not its own' then 'it gets its own lane'
  when 'waits twice' then 'it waits for its time alone'
  when 'running step without attempt, or attempt without running step' then 'an attempt that is not its step''s has ended; a step that nobody runs was lost'
  when 'deadline of a run that is not live' then 'the deadline is gone'
  when 'run with a timeout has no deadline' then 'it has its deadline again'
end;

create function lockkeeper.repair(after bigint default 0, upto bigint default null)
returns table (violation text, detail text, repair text)
language plpgsql
set search_path = pg_catalog, pg_temp set plan_cache_mode = force_custom_plan set jit = off set lock_timeout = '5s' as $$
#variable_conflict use_column
declare
  v_upto bigint := coalesce(upto, 9223372036854775807);
  v_found lockkeeper.violations[];
  v_left lockkeeper.violations[];
begin
  -- Stands for the locks of all keys, and keeps out all who lock lanes.
  perform lockkeeper_data.lock_configuration(true);
  v_found := lockkeeper_data.found_wrong(repair.after, v_upto);
  if v_found = '{}' then return; end if;
  perform lockkeeper_data.lock_runs(array(select f.run_id from unnest(v_found) f));
  perform lockkeeper_data.mend_rows(v_found);
  perform lockkeeper_data.mend_run(f.run_id) from (
    select distinct u.run_id from unnest(v_found) u where u.run_id is not null and u.violation !~ '^slot' order by u.run_id) f;
  if exists (select from unnest(v_found) f where f.violation !~ '^lane ') then
    perform lockkeeper_data.recount_holders();
    perform lockkeeper_data.mend_keys(array(select f.key_id from unnest(v_found) f where f.violation = 'key without counter, or counter without key'));
    perform lockkeeper_data.recount_asked();
  end if;
  perform lockkeeper_data.mend_lanes(v_found);
  v_left := lockkeeper_data.found_wrong(repair.after, v_upto);
  return query
    select f.violation, f.detail, case when l.violation is null then lockkeeper_data.repair_of(f.violation) end
    from unnest(v_found) f left join unnest(v_left) l on (l.violation, l.detail) = (f.violation, f.detail)
    union all
    select l.violation, l.detail, null from unnest(v_left) l
    where not exists (select from unnest(v_found) f where (f.violation, f.detail) = (l.violation, l.detail));
end $$;
comment on function lockkeeper.repair(bigint, bigint) is
  'Looks, under the lock of all keys, for what must never be with all keys and lanes and with the runs after one id up to another (left out: all), and mends it: counts anew, and has '
  'go on what was stuck. Answers what it found, a row each, and what it did; repair is null: it could not be mended, and is as it was. Nothing else moves meanwhile.';
