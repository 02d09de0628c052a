-- History: ended runs move to a partition of the day in which they ended, and are dropped with it.
-- What makes and drops partitions runs as their owner: the programs' own role need not own the tables.

-- Attached, not created as partitions: then nobody who reads the others has to wait.
create function lockkeeper_data.make_partitions(p_day date) returns void
language plpgsql as $$
declare
  v_days int := (select coalesce(ceil(c.retention_days / 30.0), 30)::int from lockkeeper_data.configuration c);
  v_first date := p_day - (p_day - date '2000-01-01') % v_days;
  v_next date := v_first + v_days;
  v_table text;
  v_name text;
begin
  -- Held, so that nobody drops it before the runs are in.
  perform from lockkeeper_data.history_parts h where p_day >= h.first_day and p_day < h.next_day for key share;
  if found then return; end if;
  -- One process at a time; those who read and write the history do not wait for it.
  lock table lockkeeper_data.ended_runs in share update exclusive mode;
  perform from lockkeeper_data.history_parts h where p_day >= h.first_day and p_day < h.next_day for key share;
  if found then return; end if;
  -- Of another retention before, there may be others beside it.
  v_first := greatest(v_first, (select max(h.next_day) from lockkeeper_data.history_parts h where h.next_day <= p_day));
  v_next := least(v_next, (select min(h.first_day) from lockkeeper_data.history_parts h where h.first_day > p_day));
  insert into lockkeeper_data.history_parts (first_day, next_day) values (v_first, v_next);
  foreach v_table in array '{ended_runs,ended_steps,ended_outcomes}'::text[] loop
    v_name := v_table || to_char(v_first, '_YYYYMMDD');
    execute format('create table lockkeeper_data.%I (like lockkeeper_data.%I including defaults including constraints)', v_name, v_table);
    execute format('alter table lockkeeper_data.%I attach partition lockkeeper_data.%I for values from (%L) to (%L)',
      -- As text of one form, whatever the session's zone and date style are.
      v_table, v_name, to_char(v_first, 'YYYY-MM-DD') || ' 00:00:00+00', to_char(v_next, 'YYYY-MM-DD') || ' 00:00:00+00');
  end loop;
end $$;

create function lockkeeper.archive(n int default 1000, out archived int, out more boolean)
language plpgsql security definer
set search_path = pg_catalog, pg_temp set plan_cache_mode = force_generic_plan set jit = off set enable_seqscan = off set enable_bitmapscan = off set enable_hashjoin = off set enable_mergejoin = off set enable_material = off set lock_timeout = '5s' as $$
declare
  v_now timestamptz := lockkeeper.now();
  v_runs bigint[];
  v_day date;
  v_run record;
begin
  perform lockkeeper_data.check_isolation();
  -- By index, whatever the plan was made for: joins of these tables, planned while they were small, took a minute later.
  -- For some minutes they stay, so that a finish that is repeated is known.
  v_runs := array(select r.id from lockkeeper_data.runs r where r.ended_at < v_now - interval '5 minutes' order by r.ended_at limit n for update skip locked);
  archived := cardinality(v_runs);
  more := archived >= n;
  if archived = 0 then return; end if;
  for v_day in select distinct (r.ended_at at time zone 'UTC')::date from lockkeeper_data.runs r where r.id = any (v_runs) loop
    perform lockkeeper_data.make_partitions(v_day);
  end loop;
  with gone as (
    delete from lockkeeper_data.outcomes o where o.run_id = any (v_runs) returning o.*, (select r.ended_at from lockkeeper_data.runs r where r.id = o.run_id) as run_ended_at
  )
  insert into lockkeeper_data.ended_outcomes (run_id, place, attempt, outcome, worker, started_at, attempt_ended_at, output, error, ended_at)
  select g.run_id, g.place, g.attempt, g.outcome, g.worker, g.started_at, g.ended_at, g.output, g.error, g.run_ended_at from gone g;
  with gone as (
    delete from lockkeeper_data.steps s where s.run_id = any (v_runs) returning s.*, (select r.ended_at from lockkeeper_data.runs r where r.id = s.run_id) as run_ended_at
  )
  insert into lockkeeper_data.ended_steps (run_id, place, state, attempts, losses, ended_at)
  select g.run_id, g.place, g.state, g.attempts, g.losses, g.run_ended_at from gone g;
  for v_run in select r.deployment_id, r.key, r.ended_at from lockkeeper_data.runs r where r.id = any (v_runs) and r.key is not null loop
    update lockkeeper_data.run_keys k set ended_at = v_run.ended_at where k.deployment_id = v_run.deployment_id and k.key = v_run.key;
  end loop;
  with e as materialized (
    select r.deployment_id, max(r.ended_at) as ended_at from lockkeeper_data.runs r where r.id = any (v_runs) group by r.deployment_id order by 1
  )
  update lockkeeper_data.deployments d set last_run_at = e.ended_at from e
  where d.id = e.deployment_id and d.kind = 'branch' and coalesce(d.last_run_at < e.ended_at, true);
  with input as (
    delete from lockkeeper_data.inputs i where i.run_id = any (v_runs) returning i.*
  ), gone as (
    delete from lockkeeper_data.runs r where r.id = any (v_runs) returning r.*
  )
  insert into lockkeeper_data.ended_runs (id, version_id, deployment_id, priority, max_concurrent, state, canceling, admission, submitted_at, admitted_at, ended_at, key, tags,
                                          start_at, queue_timeout_ms, timeout_ms, retry_of, expired, input)
  select g.id, g.version_id, g.deployment_id, g.priority, g.max_concurrent, g.state, g.canceling, g.admission, g.submitted_at, g.admitted_at, g.ended_at, g.key, g.tags,
         g.start_at, g.queue_timeout_ms, g.timeout_ms, g.retry_of, g.expired, i.input
  from gone g left join input i on i.run_id = g.id;
end $$;
comment on function lockkeeper.archive(int) is
  'Moves up to n runs that ended more than five minutes ago to the history, with their steps and attempts. The views show them as before. Answers how many, and whether there may be more.';

create function lockkeeper.drop_history(out dropped text[], out more boolean)
language plpgsql security definer set search_path = pg_catalog, pg_temp set jit = off set lock_timeout = '200ms' as $$
declare
  v_days int := (select c.retention_days from lockkeeper_data.configuration c);
  v_before date := (lockkeeper.now() at time zone 'UTC')::date - v_days;
  v_part record;
begin
  perform lockkeeper_data.check_isolation();
  dropped := '{}';
  more := false;
  -- One at a time: a transaction that drops many tables takes as many locks, which are there for all.
  select h.first_day, h.next_day into v_part from lockkeeper_data.history_parts h where h.next_day <= v_before order by h.first_day limit 1 for update skip locked;
  if not found then return; end if;
  -- First, while nobody has to wait for it.
  delete from lockkeeper_data.run_keys k where k.ended_at < v_part.next_day::timestamp at time zone 'UTC';
  begin
    dropped := array(select t || to_char(v_part.first_day, '_YYYYMMDD') from unnest('{ended_runs,ended_steps,ended_outcomes}'::text[]) t);
    execute format('drop table lockkeeper_data.%I, lockkeeper_data.%I, lockkeeper_data.%I', variadic dropped);
  exception when lock_not_available then
    -- Somebody reads the history; the next call tries again.
    dropped := '{}';
    return;
  end;
  delete from lockkeeper_data.history_parts h where h.first_day = v_part.first_day;
  more := exists (select from lockkeeper_data.history_parts h where h.next_day <= v_before);
end $$;
comment on function lockkeeper.drop_history() is
  'Drops the partitions of the oldest days if these are further back than retention_days, and forgets the keys of their runs. Answers the partitions, and whether there are more; '
  'what is being read is left for a later call.';
