-- Sweep: what nobody else ends. Each function here is one autocommit call with one lock phase.

create function lockkeeper.sweep(n int default 100, out ended int, out readied int, out more boolean)
language plpgsql
set search_path = pg_catalog, pg_temp set plan_cache_mode = force_generic_plan set jit = off set enable_seqscan = off set enable_bitmapscan = off set enable_hashjoin = off set enable_mergejoin = off set enable_material = off set lock_timeout = '30s' as $$
declare
  v_now timestamptz := lockkeeper.now();
  v_found lockkeeper_data.ending[];
  v_endings lockkeeper_data.ending[];
  v_due lockkeeper_data.step_change[];
  v_done bigint[];
begin
  perform lockkeeper_data.lock_configuration();
  -- A timeout comes before a loss, and each attempt only once.
  v_found := array(
    select row(0, f.run_id, f.place, f.attempt, f.outcome, null, null)::lockkeeper_data.ending
    from (select distinct on (run_id, place) * from (
            (select a.run_id, a.place, a.attempt, 1 as rank, 'timed_out' as outcome from lockkeeper_data.attempts a
             where a.times_out_at < v_now order by a.times_out_at limit n)
            union all
            (select a.run_id, a.place, a.attempt, 2, 'lost' from lockkeeper_data.leases l join lockkeeper_data.attempts a on a.lease_id = l.id where l.ended limit n)
            union all
            (select a.run_id, a.place, a.attempt, 3, 'returned' from lockkeeper_data.attempts a where a.unnamed >= 2 limit n)) x
          order by run_id, place, rank) f);
  v_due := array(select row(b.run_id, b.place, 0, 'ready', 'ready', 0, 0, 0, 0)::lockkeeper_data.step_change
                 from lockkeeper_data.backoffs b where b.ready_at <= v_now order by b.ready_at limit n);
  perform lockkeeper_data.lock_runs(array(select f.run_id from unnest(v_found) f) || array(select c.run_id from unnest(v_due) c));
  -- What ended between the look and the lock is left out.
  v_endings := array(select f::lockkeeper_data.ending from unnest(v_found) f
                     join lockkeeper_data.attempts a on a.run_id = f.run_id and a.place = f.place and a.attempt = f.attempt);
  v_due := array(select c::lockkeeper_data.step_change from unnest(v_due) c join lockkeeper_data.backoffs b on b.run_id = c.run_id and b.place = c.place);
  ended := 0;
  readied := 0;
  -- A run whose time has come arrives like one that was just submitted.
  with due as (
    delete from lockkeeper_data.backoffs b using unnest(v_due) c where c.place = 0 and b.run_id = c.run_id and b.place = 0 returning b.run_id
  )
  insert into lockkeeper_data.waiting (lane_id, run_id, attempts, place) select 0, d.run_id, 0, 0 from due d;
  get diagnostics readied = row_count;
  v_due := array(select c::lockkeeper_data.step_change from unnest(v_due) c where c.place > 0);
  if v_endings <> '{}' or v_due <> '{}' then
    v_done := lockkeeper_data.change_steps(v_endings, v_due, '{}');
    ended := (select count(*) from unnest(v_endings) e where e.run_id = any (v_done));
    readied := readied + (select count(*) from unnest(v_due) c where c.run_id = any (v_done));
  end if;
  with gone as (
    delete from lockkeeper_data.leases l where l.ended and not exists (select from lockkeeper_data.attempts a where a.lease_id = l.id)
      and l.id in (select x.id from lockkeeper_data.leases x where x.ended order by x.id limit 20 for update skip locked)
    returning l.id
  )
  delete from lockkeeper_data.claims c using gone g where c.lease_id = g.id;
  more := ended + readied > 0;
end $$;
comment on function lockkeeper.sweep(int) is
  'Ends attempts that timed out, releases what ended leases held, and lets steps ask again whose backoff is over, and runs ask whose start_at has come. '
  'Answers how many of each, and whether it is worth calling again.';

create function lockkeeper.expire(n int default 100, out ended int, out more boolean)
language plpgsql
set search_path = pg_catalog, pg_temp set plan_cache_mode = force_generic_plan set jit = off set enable_seqscan = off set enable_bitmapscan = off set enable_hashjoin = off set enable_mergejoin = off set enable_material = off set lock_timeout = '30s' as $$
declare
  v_now timestamptz := lockkeeper.now();
  -- One kind at a time, so that a call has one lock phase.
  v_deadline text := (select d.deadline from lockkeeper_data.deadlines d where d.at < v_now order by d.at limit 1);
  v_runs bigint[] := array(select d.run_id from lockkeeper_data.deadlines d where d.at < v_now and d.deadline = v_deadline order by d.at limit n);
  v_retry bigint[];
begin
  ended := 0;
  more := v_runs <> '{}';
  if not more then return; end if;
  select coalesce(array_agg(c.run_id) filter (where c.state = 'retry'), '{}'), count(*) filter (where c.state in ('failed', 'canceled'))
  into v_retry, ended
  from lockkeeper_data.cancel_runs(v_runs, v_deadline = 'timeout', v_deadline = 'queue_timeout', v_deadline) c;
  -- A queue timeout has no meaning any more for a run that was admitted in time.
  delete from lockkeeper_data.deadlines d where d.run_id = any (v_runs) and d.deadline = v_deadline and d.run_id <> all (v_retry);
end $$;
comment on function lockkeeper.expire(int) is
  'Ends runs that did not meet a deadline: not admitted within queue_timeout_ms, or not ended timeout_ms after their admission. They fail, running attempts end as timed_out. '
  'Answers how many ended, and whether it is worth calling again.';
