-- Runs that have ended or still wait, asked for once more: a retry, another priority.

-- The state of a run as people see it, whether it is live or history: running once a step has started; unknown: there is no such run.
create function lockkeeper_data.run_state_of(p_run_id bigint) returns text
language plpgsql stable as $$
begin
  return coalesce(
    (select case when r.state = 'admitted' and exists (select from lockkeeper_data.steps s where s.run_id = r.id and s.attempts > 0) then 'running' else r.state::text end
     from lockkeeper_data.runs r where r.id = p_run_id),
    (select h.state::text from lockkeeper_data.ended_runs h where h.id = p_run_id), 'unknown');
end $$;

-- The caller has locked the run, so that two who retry it at once make one run.
create function lockkeeper_data.retry_run(p_run_id bigint, out new_run_id bigint, out state text)
language plpgsql as $$
#variable_conflict use_column
declare
  r record;
  v_now timestamptz := lockkeeper.now();
begin
  state := lockkeeper_data.run_state_of(p_run_id);
  if state not in ('failed', 'canceled') then return; end if;
  select x.*, i.input into r
  from (select id, version_id, deployment_id, priority, max_concurrent, state, tags, queue_timeout_ms, timeout_ms, null::jsonb as input from lockkeeper_data.runs where id = p_run_id
        union all
        select id, version_id, deployment_id, priority, max_concurrent, state, tags, queue_timeout_ms, timeout_ms, input from lockkeeper_data.ended_runs where id = p_run_id) x
  cross join lateral (select coalesce(x.input, (select y.input from lockkeeper_data.inputs y where y.run_id = p_run_id)) as input) i;
  select x.id into new_run_id from lockkeeper_data.runs x where x.retry_of = p_run_id and x.state in ('queued', 'admitted') order by x.id limit 1;
  if found then return; end if;
  if exists (select from lockkeeper_data.deployments d where d.id = r.deployment_id and d.ended_at is not null) then
    perform lockkeeper_data.refuse(format('the deployment of run %s has ended', p_run_id), 'Add the deployment again, then retry.', 'LK004', 'deployment');
  end if;

  new_run_id := nextval('lockkeeper_data.runs_id_seq');
  with succeeded as materialized (
    select array_agg(x.place) as places from (
      select place from lockkeeper_data.steps where run_id = p_run_id and state = 'succeeded'
      union all select place from lockkeeper_data.ended_steps where run_id = p_run_id and state = 'succeeded') x
  )
  insert into lockkeeper_data.steps (run_id, place, state, attempts, losses, returns, needs)
  select new_run_id, js.place, case when v.done then 'succeeded' else 'pending' end::lockkeeper_data.step_state, 0, 0, 0,
         case when v.done then 0 else (select count(*) from unnest(js.after) a where a <> all (coalesce(d.places, '{}'))) end
  from succeeded d join lockkeeper_data.job_steps js on js.version_id = r.version_id
  cross join lateral (select js.place = any (coalesce(d.places, '{}'))) v(done);
  -- Nothing is left to run again.
  if not exists (select from lockkeeper_data.steps s where s.run_id = new_run_id and s.state = 'pending') then
    delete from lockkeeper_data.steps s where s.run_id = new_run_id;
    new_run_id := null;
    return;
  end if;
  insert into lockkeeper_data.outcomes (run_id, place, attempt, outcome, worker, started_at, ended_at, output)
  select new_run_id, o.place, o.attempt, 'succeeded', o.worker, o.started_at, o.ended_at, o.output
  from (select place, attempt, worker, started_at, ended_at, output from lockkeeper_data.outcomes where run_id = p_run_id and outcome = 'succeeded'
        union all
        select place, attempt, worker, started_at, attempt_ended_at, output from lockkeeper_data.ended_outcomes where run_id = p_run_id and outcome = 'succeeded') o
  join lockkeeper_data.steps s on s.run_id = new_run_id and s.place = o.place and s.state = 'succeeded';
  insert into lockkeeper_data.inputs (run_id, input) select new_run_id, r.input where r.input is not null;
  insert into lockkeeper_data.runs (id, version_id, deployment_id, priority, max_concurrent, steps_left, state, failed, canceling, submitted_at, tags,
                                    queue_timeout_ms, timeout_ms, retry_of)
  select new_run_id, r.version_id, r.deployment_id, r.priority, r.max_concurrent, (count(*) filter (where s.state = 'pending'))::int, 'queued', false, false, v_now, r.tags,
         r.queue_timeout_ms, r.timeout_ms, p_run_id
  from lockkeeper_data.steps s where s.run_id = new_run_id;
  insert into lockkeeper_data.deadlines (run_id, deadline, at)
  select new_run_id, 'queue_timeout', v_now + r.queue_timeout_ms * interval '1 millisecond' where r.queue_timeout_ms is not null;
  insert into lockkeeper_data.waiting (lane_id, run_id, attempts, place) values (0, new_run_id, 0, 0);
  insert into lockkeeper_data.ticket_changes (run_id, change) values (new_run_id, 'make');
end $$;

create function lockkeeper.retry(run_ids bigint[]) returns table (run_id bigint, new_run_id bigint, state text)
language plpgsql set search_path = pg_catalog, pg_temp set plan_cache_mode = force_generic_plan set jit = off set enable_seqscan = off as $$
begin
  perform lockkeeper_data.check_isolation();
  -- In order, before one after the other is looked at: so two who retry the same runs do not wait for each other.
  perform lockkeeper_data.lock_runs(run_ids);
  perform from lockkeeper_data.ended_runs x where x.id = any (run_ids) order by x.id for no key update;
  return query
    select u.id, r.new_run_id, r.state
    from unnest(run_ids) with ordinality u(id, no) cross join lateral lockkeeper_data.retry_run(u.id) r order by u.no;
end $$;
comment on function lockkeeper.retry(bigint[]) is
  'Makes a new run of each run that failed or was canceled, in the same job version, with the same input, tags, priority and deadlines: steps that succeeded keep their outputs, the others run again. '
  'Answers the new run, or the retry that is already under way. new_run_id is null, and state says why, for a run that has not ended or has succeeded, and for an unknown one. LK004, and none is made: the deployment of one of them has ended.';

create function lockkeeper.set_priority(run_ids bigint[], priority int) returns table (run_id bigint, state text)
language plpgsql set search_path = pg_catalog, pg_temp set plan_cache_mode = force_generic_plan set jit = off set enable_seqscan = off as $$
#variable_conflict use_column
declare v_queued bigint[];
begin
  if priority is null then
    perform lockkeeper_data.refuse('priority is null, allowed are whole numbers of 32 bits', 'Give the new priority.', p_field => 'priority');
  end if;
  perform lockkeeper_data.lock_configuration();
  perform lockkeeper_data.lock_runs(run_ids);
  v_queued := array(select r.id from lockkeeper_data.runs r where r.id = any (run_ids) and r.state = 'queued' and r.priority <> set_priority.priority order by r.id);
  update lockkeeper_data.runs r set priority = set_priority.priority where r.id = any (v_queued);
  -- It arrives once more, and gets a lane of its new priority. A queued run holds and asks for nothing, so no key is touched.
  update lockkeeper_data.waiting w set lane_id = 0 where w.run_id = any (v_queued) and w.place = 0;
  insert into lockkeeper_data.ticket_changes (run_id, change) select u, 'remake' from unnest(v_queued) u on conflict do nothing;
  return query
    select u.id, lockkeeper_data.run_state_of(u.id) from unnest(run_ids) with ordinality u(id, no) order by u.no;
end $$;
comment on function lockkeeper.set_priority(bigint[], int) is
  'Gives queued runs another priority, higher goes first. Answers the state of each; one that is not queued any more keeps its priority, unknown: there is no such run.';
