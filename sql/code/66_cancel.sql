-- Cancel: what does not run ends now, what runs is told to. Each function here is one autocommit call with one lock phase.

-- Owns the lanes of the ready steps of these runs, which the caller locked.
create function lockkeeper_data.own_lanes_of_runs(p_run_ids bigint[]) returns void
language plpgsql as $$
declare
  v_owned bigint[] := '{}';
  v_lanes bigint[];
begin
  loop
    v_lanes := array(select distinct w.lane_id from unnest(p_run_ids) u(id) join lockkeeper_data.waiting w on w.run_id = u.id
                     where w.place > 0 and w.lane_id <> all (v_owned));
    exit when v_lanes = '{}';
    perform from lockkeeper_data.lanes l where l.id = any (v_lanes) order by l.id for no key update;
    -- While we waited, a step may have been laned again.
    v_owned := v_owned || v_lanes;
  end loop;
end $$;

-- Ends runs before their time: canceled, or, with the deadline that they did not meet, failed.
create function lockkeeper_data.cancel_runs(p_run_ids bigint[], p_force boolean, p_only_queued boolean, p_expired text default null)
returns table (run_id bigint, state text)
language plpgsql as $$
#variable_conflict use_column
declare
  v_runs bigint[];
  v_changes lockkeeper_data.step_change[];
  v_endings lockkeeper_data.ending[];
  v_asked bigint[];
  v_done bigint[] := '{}';
begin
  perform lockkeeper_data.lock_configuration();
  perform lockkeeper_data.lock_runs(p_run_ids);
  v_runs := array(select r.id from lockkeeper_data.runs r where r.id = any (p_run_ids)
                  and (r.state = 'queued' or (r.state = 'admitted' and not p_only_queued)));
  perform lockkeeper_data.own_lanes_of_runs(v_runs);
  -- Before any key is locked: who lanes again has locked these when it asks for keys.
  perform from lockkeeper_data.waiting w where w.run_id = any (v_runs) and w.place = 0 order by w.run_id for update;
  v_changes := array(
    select row(s.run_id, s.place, 0, s.state, 'canceled', 0, 0, 0, 0)::lockkeeper_data.step_change
    from unnest(v_runs) u(id) join lockkeeper_data.steps s on s.run_id = u.id where s.state in ('pending', 'ready'));
  v_endings := array(
    select row(0, a.run_id, a.place, a.attempt, case when p_expired is null then 'force_canceled' else 'timed_out' end, null, null)::lockkeeper_data.ending
    from unnest(v_runs) u(id) join lockkeeper_data.attempts a on a.run_id = u.id where p_force);
  if p_expired is not null then
    -- One that is being canceled ends as canceled.
    update lockkeeper_data.runs r set expired = p_expired where r.id = any (v_runs) and not r.canceling;
  end if;
  v_asked := array(select c.run_id from unnest(v_changes) c union select e.run_id from unnest(v_endings) e);
  if v_asked <> '{}' then
    v_done := lockkeeper_data.change_steps(v_endings, v_changes, v_runs);
  end if;
  -- What did not fit is as it was, and is asked again.
  update lockkeeper_data.runs r set expired = null where p_expired is not null and r.id = any (v_asked) and r.id <> all (v_done);
  -- What only has running steps left has nothing to change but this.
  update lockkeeper_data.runs r set canceling = true
  where r.id = any (v_runs) and not r.canceling and r.state = 'admitted'
    and (r.id = any (v_done) or r.id <> all (v_asked));
  insert into lockkeeper_data.ticket_changes (run_id, change)
  select r.id, 'close' from lockkeeper_data.runs r where r.id = any (v_done) and r.state in ('canceled', 'failed') and r.admission is null
  on conflict do nothing;
  return query
    select u.id, case when u.id = any (v_asked) and u.id <> all (v_done) then 'retry' else lockkeeper_data.run_state_of(u.id) end
    from unnest(p_run_ids) with ordinality u(id, no) order by u.no;
end $$;

create function lockkeeper.cancel(run_ids bigint[], force boolean default false) returns table (run_id bigint, state text)
language sql volatile
set search_path = pg_catalog, pg_temp set plan_cache_mode = force_generic_plan set jit = off set enable_seqscan = off set enable_bitmapscan = off set enable_hashjoin = off set enable_mergejoin = off set enable_material = off set lock_timeout = '30s' as $$
  select * from lockkeeper_data.cancel_runs(run_ids, force, false)
$$;
comment on function lockkeeper.cancel(bigint[], boolean) is
  'Cancels runs. What does not run is canceled at once; a step that runs keeps its slots until its worker ends it, with force it ends now. '
  'Answers the state of each: a run that had ended is as it was; unknown: there is no such run; retry: call again for it (too many keys at once).';

create function lockkeeper.cancel_queued(run_ids bigint[]) returns table (run_id bigint, state text)
language sql volatile
set search_path = pg_catalog, pg_temp set plan_cache_mode = force_generic_plan set jit = off set enable_seqscan = off set enable_bitmapscan = off set enable_hashjoin = off set enable_mergejoin = off set enable_material = off set lock_timeout = '30s' as $$
  select * from lockkeeper_data.cancel_runs(run_ids, false, true)
$$;
comment on function lockkeeper.cancel_queued(bigint[]) is 'Like cancel, but only of runs that are still queued: one that was admitted in the meantime goes on.';
