-- Steps: what follows when some of them end, are canceled or may be tried again. Finish, timeout, reap, cancel and backoff
-- all come through change_steps.

-- Locks runs, in order.
create function lockkeeper_data.lock_runs(p_run_ids bigint[]) returns void
language plpgsql as $$
begin
  perform from lockkeeper_data.runs r where r.id in (select distinct u from unnest(p_run_ids) u) order by r.id for no key update;
end $$;

-- How long a step waits after so many failures.
create function lockkeeper_data.backoff_ms(js lockkeeper_data.job_steps, p_failures int) returns bigint
language sql immutable
return least(js.backoff_max_ms, js.backoff_ms * power(js.backoff_factor::numeric, least(p_failures - 1, 60)))::bigint;

-- What the end of attempts makes of their steps. The runs are locked and the attempts are the current ones.
create function lockkeeper_data.changes_of_endings(p_endings lockkeeper_data.ending[], p_canceled bigint[]) returns lockkeeper_data.step_change[]
language plpgsql stable as $$
begin
  return array(
  select row(e.run_id, e.place, e.attempt, 'running', v.state, 0, (e.outcome = 'lost')::int, (e.outcome = 'returned')::int,
             case when v.state = 'ready' and e.outcome in ('failed', 'timed_out')
                  then lockkeeper_data.backoff_ms(js, v.failures) else 0 end)::lockkeeper_data.step_change
  from unnest(p_endings) e
  join lockkeeper_data.runs r on r.id = e.run_id
  join lockkeeper_data.steps s on s.run_id = e.run_id and s.place = e.place
  join lockkeeper_data.job_steps js on js.version_id = r.version_id and js.place = e.place
  cross join lateral (
    select s.attempts - s.losses - s.returns as failures,
           case when r.canceling or e.run_id = any (p_canceled) then 'canceled'
                when e.outcome = 'succeeded' then 'succeeded'
                when e.outcome = 'returned' then 'ready'
                when e.outcome = 'lost' then case when s.losses < js.max_losses then 'ready' else 'failed' end
                when s.attempts - s.losses - s.returns < js.max_attempts then 'ready'
                else 'failed' end::lockkeeper_data.step_state as state) v
  order by e.ordinal);
end $$;

-- What the changes do to the steps that come after: a success meets a need, a failure skips all that follows.
create function lockkeeper_data.changes_that_follow(p_changes lockkeeper_data.step_change[]) returns lockkeeper_data.step_change[]
language plpgsql stable as $$
begin
  return array(
  select row(f.run_id, f.place, 0, 'pending',
             case when f.skip then 'skipped' when s.needs = f.met then 'ready' else 'pending' end, f.met, 0, 0, 0)::lockkeeper_data.step_change
  from (select c.run_id, x.place, bool_or(c.state = 'failed') as skip, (count(*) filter (where c.state = 'succeeded'))::int as met
        from unnest(p_changes) c
        join lockkeeper_data.runs r on r.id = c.run_id
        join lockkeeper_data.job_steps js on js.version_id = r.version_id and js.place = c.place
        cross join lateral unnest(case c.state when 'succeeded' then js.dependents else js.descendants end) x(place)
        where c.state in ('succeeded', 'failed')
        group by c.run_id, x.place) f
  join lockkeeper_data.steps s on s.run_id = f.run_id and s.place = f.place
  where s.state = 'pending');
end $$;

-- The numbers of the locks of keys.
create function lockkeeper_data.lock_numbers(p_keys bigint[]) returns int[]
language plpgsql immutable as $$
begin
  return array(select distinct (k & 2047)::int from unnest(p_keys) k where k is not null);
end $$;

-- As many of the runs as the key locks allow; one is always let through.
create function lockkeeper_data.runs_within_locks(p_run_ids bigint[], p_keys bigint[]) returns bigint[]
language plpgsql as $$
declare
  r record;
  v_numbers int[] := '{}';
  v_wider int[];
  v_runs bigint[] := '{}';
begin
  for r in select u.run_id, array_agg(distinct (u.key_id & 2047)::int) filter (where u.key_id is not null) as numbers
           from unnest(p_run_ids, p_keys) u(run_id, key_id) group by u.run_id order by u.run_id loop
    if not coalesce(r.numbers <@ v_numbers, true) then
      v_wider := array(select distinct n from unnest(v_numbers || r.numbers) n);
      continue when cardinality(v_wider) > lockkeeper_data.most_locks() and v_runs <> '{}';
      v_numbers := v_wider;
    end if;
    v_runs := v_runs || r.run_id;
  end loop;
  return v_runs;
end $$;

-- Plans changes of steps and all that hangs off them: needs, skips, run ends, lanes, slots. The caller locked the runs, and the lanes of ready
-- steps that are canceled. What does not fit into the key locks is left out: done are the runs for which it is planned.
create function lockkeeper_data.plan_changes(p_endings lockkeeper_data.ending[], p_changes lockkeeper_data.step_change[], p_canceled bigint[])
returns lockkeeper_data.change_plan
language plpgsql as $$
declare
  p lockkeeper_data.change_plan;
  v_runs bigint[]; v_places int[];
begin
  p.endings := p_endings;
  p.canceled := p_canceled;
  p.waited := p_changes <> '{}';
  p.of_endings := lockkeeper_data.changes_of_endings(p_endings, p_canceled);
  p.changes := p_changes || p.of_endings;
  p.changes := p.changes || lockkeeper_data.changes_that_follow(p.changes);
  select array_agg(c.run_id) filter (where c.backoff_ms = 0), array_agg(c.place) filter (where c.backoff_ms = 0), coalesce(bool_or(c.backoff_ms > 0), false)
  into v_runs, v_places, p.backs_off from unnest(p.changes) c where c.state = 'ready';
  p.ready := lockkeeper_data.lanes_of('step', v_runs, v_places);
  p.ending := array(
    select r.id from (select c.run_id, count(*) filter (where c.state not in ('pending', 'ready')) as ended from unnest(p.changes) c group by c.run_id) n
    join lockkeeper_data.runs r on r.id = n.run_id where r.steps_left = n.ended);

  select array_agg(n.run_id), array_agg(n.key_id), array_agg(n.amount) into v_runs, p.keys, p.amounts from (
    select c.run_id, s.key_id, coalesce(s.amount, 0) as amount from unnest(p.changes) c
      left join lockkeeper_data.slots s on s.run_id = c.run_id and s.place = c.place and c.was = 'running'
    union all select e.run_id, s.key_id, s.amount from unnest(p.ending) e(run_id) join lockkeeper_data.slots s on s.run_id = e.run_id and s.place = 0
    union all select s.run_id, k, 0 from unnest(p.ready) s join lockkeeper_data.lanes l on l.id = s.lane_id cross join lateral unnest(l.ask_keys) k
    union all select c.run_id, k, 0 from unnest(p.changes) c join lockkeeper_data.waiting w on w.run_id = c.run_id and w.place = c.place
      join lockkeeper_data.lanes l on l.id = w.lane_id cross join lateral unnest(l.ask_keys) k
      where c.was = 'ready' and c.state <> 'ready') n;
  p.locks := lockkeeper_data.lock_numbers(p.keys);
  p.done := v_runs;
  if cardinality(p.locks) > lockkeeper_data.most_locks() then
    p.done := lockkeeper_data.runs_within_locks(v_runs, p.keys);
    p.endings := array(select e::lockkeeper_data.ending from unnest(p.endings) e where e.run_id = any (p.done));
    p.of_endings := array(select c::lockkeeper_data.step_change from unnest(p.of_endings) c where c.run_id = any (p.done));
    p.changes := array(select c::lockkeeper_data.step_change from unnest(p.changes) c where c.run_id = any (p.done));
    p.ending := array(select u from unnest(p.ending) u where u = any (p.done));
    p.ready := array(select s::lockkeeper_data.waiting from unnest(p.ready) s where s.run_id = any (p.done));
    select array_agg(u.key_id), array_agg(u.amount) into p.keys, p.amounts
    from unnest(v_runs, p.keys, p.amounts) u(run_id, key_id, amount) where u.run_id = any (p.done);
    p.locks := lockkeeper_data.lock_numbers(p.keys);
  end if;
  return p;
end $$;

-- Writes planned changes under the locks of their keys. Answers how counters must change. The counting and the batons are the caller's.
create function lockkeeper_data.write_changes(p lockkeeper_data.change_plan, out keys bigint[], out used bigint[], out asked bigint[])
language plpgsql as $$
#variable_conflict use_column
declare
  v_now timestamptz := lockkeeper.now();
  v_runs bigint[]; v_places int[];
begin
  insert into lockkeeper_data.outcomes (run_id, place, attempt, outcome, lease_id, worker, started_at, ended_at, output, error)
  select e.run_id, e.place, e.attempt,
         case when e.state = 'canceled' and e.outcome in ('succeeded', 'failed') then 'canceled' else e.outcome end,
         a.lease_id, l.worker, a.started_at, v_now, e.output, e.error
  from unnest(p.endings, p.of_endings) e(ordinal, run_id, place, attempt, outcome, output, error,
                                         c_run_id, c_place, c_attempt, was, state, met, losses, returns, backoff_ms)
  join lockkeeper_data.attempts a on a.run_id = e.run_id and a.place = e.place
  left join lockkeeper_data.leases l on l.id = a.lease_id;

  update lockkeeper_data.steps s set state = c.state, needs = s.needs - c.met, losses = s.losses + c.losses, returns = s.returns + c.returns
  from unnest(p.changes) c where s.run_id = c.run_id and s.place = c.place;
  delete from lockkeeper_data.attempts a using unnest(p.changes) c where c.was = 'running' and a.run_id = c.run_id and a.place = c.place;
  if p.waited then
    delete from lockkeeper_data.backoffs b
    using (select c.run_id, c.place from unnest(p.changes) c where c.was = 'ready' union all select e, 0 from unnest(p.ending) e) g
    where b.run_id = g.run_id and b.place = g.place;
  end if;
  if p.ending <> '{}' then
    delete from lockkeeper_data.deadlines d where d.run_id = any (p.ending);
  end if;
  if p.backs_off then
    insert into lockkeeper_data.backoffs (run_id, place, ready_at)
    select c.run_id, c.place, v_now + c.backoff_ms * interval '1 millisecond' from unnest(p.changes) c where c.state = 'ready' and c.backoff_ms > 0;
  end if;

  update lockkeeper_data.runs r
  set steps_left = r.steps_left - n.ended, failed = r.failed or n.failed, canceling = r.canceling or n.canceling,
      state = case when r.steps_left > n.ended then r.state when r.expired is not null then 'failed' when r.canceling or n.canceling then 'canceled'
                   when r.failed or n.failed then 'failed' else 'succeeded' end,
      ended_at = case when r.steps_left > n.ended then null else v_now end
  from (select c.run_id, count(*) filter (where c.state not in ('pending', 'ready'))::int as ended,
               bool_or(c.state = 'failed') as failed, c.run_id = any (p.canceled) as canceling
        from unnest(p.changes) c group by c.run_id) n
  where r.id = n.run_id;

  select array_agg(h.run_id), array_agg(h.place) into v_runs, v_places
  from (select c.run_id, c.place from unnest(p.changes) c where c.was = 'running' union all select e, 0 from unnest(p.ending) e) h;
  select s.keys, s.used, array_fill(0::bigint, array[cardinality(s.keys)]) into keys, used, asked from lockkeeper_data.drop_slots(v_runs, v_places) s;
  -- What ran to its end waits nowhere, and neither does its run.
  if p.waited then
    select write_changes.keys || array_agg(w.key_id), write_changes.used || array_agg(0::bigint), write_changes.asked || array_agg(w.asked) into keys, used, asked from lockkeeper_data.leave_lanes(
      array(select c.run_id from unnest(p.changes) c where c.was = 'ready' and c.state <> 'ready') || p.ending,
      array(select c.place from unnest(p.changes) c where c.was = 'ready' and c.state <> 'ready') || array_fill(0, array[cardinality(p.ending)])) w;
  end if;
  if p.ready <> '{}' then
    select write_changes.keys || array_agg(a.key_id), write_changes.used || array_agg(0::bigint), write_changes.asked || array_agg(-a.amount::bigint) into keys, used, asked
    from unnest(p.ready) u join lockkeeper_data.lanes l on l.id = u.lane_id cross join lateral unnest(l.ask_keys, l.ask_amounts) a(key_id, amount);
    perform lockkeeper_data.join_lanes(p.ready);
  end if;
end $$;

-- Keys of one run end with it: nothing can ask for them again.
create function lockkeeper_data.end_keys(p_runs bigint[]) returns void
language plpgsql as $$
begin
  with gone as (delete from lockkeeper_data.keys k where k.run_id = any (p_runs) returning k.id)
  delete from lockkeeper_data.counters c using gone g where c.key_id = g.id;
end $$;

-- Changes steps and all that hangs off them, in one lock phase. Answers the runs for which it was done; the others did not fit and are untouched.
create function lockkeeper_data.change_steps(p_endings lockkeeper_data.ending[], p_changes lockkeeper_data.step_change[], p_canceled bigint[]) returns bigint[]
language plpgsql as $$
declare
  p lockkeeper_data.change_plan := lockkeeper_data.plan_changes(p_endings, p_changes, p_canceled);
  w record;
begin
  perform lockkeeper_data.lock_keys(p.locks);
  w := lockkeeper_data.write_changes(p);
  perform lockkeeper_data.count_slots(w.keys, w.used, w.asked);
  perform lockkeeper_data.pass_batons(w.keys);
  perform lockkeeper_data.end_keys(p.ending);
  return p.done;
end $$;
