-- The judge of a race: what must hold right after it, and that all that it left goes on to its end.

-- No grant goes over the capacity in force: at the very statement that counts it. What is live under limits that have just changed may be over.
create function races.refuse_over() returns trigger
language plpgsql as $$
declare v_capacity int := (select coalesce(l.override, new.capacity, l.capacity) from lockkeeper_data.limits l where l.id = new.limit_id);
begin
  if new.in_use > old.in_use and new.in_use > v_capacity
     and not exists (select from pg_locks g where g.pid = pg_backend_pid() and g.locktype = 'advisory' and g.mode = 'ExclusiveLock' and g.granted
                     and (g.classid::bigint << 32 | g.objid::bigint) = 5505019530000000000 + 4096) then
    raise exception 'over: key % has % of %', new.key_id, new.in_use, v_capacity;
  end if;
  return new;
end $$;
create trigger refuse_over before update of in_use on lockkeeper_data.counters for each row execute function races.refuse_over();

create function races.called(p_run_id bigint, p_place int) returns text
language sql stable
return coalesce((select n.name from races.run_names n where n.id = p_run_id), 'run ' || p_run_id)
  || coalesce('.' || (select js.name from lockkeeper_data.runs r join lockkeeper_data.job_steps js on js.version_id = r.version_id and js.place = p_place
                      where r.id = p_run_id), '');

-- Who could start now, by the counters alone: what settling must leave none of.
create function races.could_start() returns table (subject text)
language sql stable
begin atomic
  with room as (
    select c.key_id, coalesce(m.override, c.capacity, m.capacity)::bigint - c.in_use as take,
           coalesce(m.override, c.capacity, m.capacity)::bigint + m.look_buffer - c.in_use - c.asked as look
    from lockkeeper_data.counters c join lockkeeper_data.limits m on m.id = c.limit_id
  ), first as (
    select distinct on (w.lane_id) w.run_id, w.place, l.* from lockkeeper_data.waiting w join lockkeeper_data.lanes l on l.id = w.lane_id
    order by w.lane_id, w.run_id, w.attempts, w.place
  )
  select races.called(w.run_id, w.place) || ' has no lane' from lockkeeper_data.waiting w where w.lane_id = 0
  union all
  select races.called(f.run_id, f.place) || ' waits in a lane of an old stamp' from first f where f.stamp < (select stamp from lockkeeper_data.configuration)
  union all
  select races.called(f.run_id, f.place) || ' could start and does not' from first f
  where not exists (select from unnest(f.keys, f.amounts) k(id, amount) join room r on r.key_id = k.id where r.take < k.amount)
    and (f.look_roots = '{}' or exists (
      select from unnest(f.look_roots) u(root) where not exists (
        select from unnest(f.look_roots, f.look_keys, f.look_amounts) k(root, id, amount) join room r on r.key_id = k.id
        where k.root = u.root and r.look < k.amount)));
end;

-- What a tick does, and what workers claim. Each call is a transaction of its own.
create procedure races.round() language plpgsql as $$
declare
  v_more boolean;
  v_lease uuid;
begin
  if (select t.overrides from lockkeeper.todo() t) then perform lockkeeper.end_overrides(); commit; end if;
  perform lockkeeper.reap(); commit;
  loop select s.more into v_more from lockkeeper.sweep() s; commit; exit when not v_more; end loop;
  loop select s.more into v_more from lockkeeper.expire() s; commit; exit when not v_more; end loop;
  loop
    loop select l.more into v_more from lockkeeper.lane() l; commit; exit when not v_more; end loop;
    loop select a.more into v_more from lockkeeper.admit() a; commit; exit when not v_more; end loop;
    exit when not (select t.lane from lockkeeper.todo() t);
  end loop;
  perform lockkeeper.sleep_unserved(); commit;
  for v_lease in select l.id from lockkeeper_data.leases l where not l.ended order by l.worker loop
    loop
      select c.more into v_more from lockkeeper.claim(v_lease, (select coalesce(max(l.number), 0) + 1 from lockkeeper_data.claims l where l.lease_id = v_lease), 20) c;
      commit;
      exit when not v_more;
    end loop;
  end loop;
end $$;

create function races.as_it_is() returns text
language sql volatile
return (select md5(string_agg(concat(r.id, r.state, s.place, s.state, s.attempts), ',' order by r.id, s.place))
        from lockkeeper_data.runs r join lockkeeper_data.steps s on s.run_id = r.id);

-- Until nothing moves.
create procedure races.settle() language plpgsql as $$
declare v_before text;
begin
  loop
    v_before := races.as_it_is();
    call races.round();
    exit when v_before = races.as_it_is();
  end loop;
end $$;

-- All attempts of live leases succeed.
create procedure races.finish_all() language plpgsql as $$
declare
  v_lease uuid;
begin
  for v_lease in select distinct a.lease_id from lockkeeper_data.attempts a join lockkeeper_data.leases l on l.id = a.lease_id and not l.ended order by 1 loop
    perform lockkeeper.finish(v_lease, (select jsonb_agg(jsonb_build_object('run_id', a.run_id, 'place', a.place, 'attempt', a.attempt, 'outcome', 'succeeded'))
                                        from lockkeeper_data.attempts a where a.lease_id = v_lease));
    commit;
  end loop;
end $$;

create function races.wrong(p_when text) returns text[]
language sql volatile
return array(select p_when || ': ' || v.violation || ' (' || v.detail || ')' from lockkeeper.violations v);

-- What is wrong after a race, in words; settled: how the world looks once nothing moves.
create procedure races.judge(p_to_its_end boolean, inout wrong text[] default '{}', inout settled text default null) language plpgsql as $$
begin
  wrong := races.wrong('right after it'); commit;
  call races.settle();
  wrong := wrong || array(select 'settled: ' || c.subject from races.could_start() c); commit;
  settled := (select string_agg(x.line, ' ' order by x.line) from (
    select coalesce(n.name, r.retry_of::text, r.tags::text) || '=' || r.state || '/' || string_agg(left(s.state::text, 2) || s.attempts, ',' order by s.place) as line
    from lockkeeper_data.runs r left join races.run_names n on n.id = r.id join lockkeeper_data.steps s on s.run_id = r.id group by n.name, r.id) x)
    || ' | admitted in the order ' || (select string_agg(coalesce(n.name, r.retry_of::text, r.tags::text), ' ' order by r.admission)
                                       from lockkeeper_data.runs r left join races.run_names n on n.id = r.id where r.admission is not null);
  if not p_to_its_end then return; end if;
  -- Limits that let nobody start would keep it from its end, and so would a job that nobody serves.
  perform lockkeeper.apply_limits(races.limit_rows(5, 12)); commit;
  perform lockkeeper.open_lease('last', 50, (select jsonb_agg(jsonb_build_object('job', v.job, 'version', v.version)) from lockkeeper_data.job_versions v), 86400000); commit;
  for i in 1 .. 40 loop
    call races.finish_all();
    perform lockkeeper.advance_clock(10); commit;
    call races.round();
    exit when not exists (select from lockkeeper_data.runs r where r.state in ('queued', 'admitted'));
  end loop;
  wrong := wrong || races.wrong('at the end') || array(
    select 'never ends: ' || races.called(r.id, 0) || ' is ' || r.state from lockkeeper_data.runs r where r.state in ('queued', 'admitted')) || array(
    select 'at the end: ' || k.name || ' has ' || c.in_use || ', asked ' || c.asked
    from lockkeeper_data.counters c join lockkeeper_data.keys k on k.id = c.key_id where c.in_use <> 0 or c.asked <> 0);
end $$;

-- Plans the other way round: over sequential scans, with this join alone. Of all functions that say how they want to be planned.
create procedure races.plan_with(p_join text) language plpgsql as $$
declare
  v_setting text;
  v_function regprocedure;
begin
  for v_setting in select 'enable_' || u from unnest('{seqscan,indexscan,indexonlyscan,bitmapscan,nestloop,hashjoin,mergejoin}'::text[]) u loop
    for v_function in select p.oid from pg_proc p where p.pronamespace::regnamespace::text in ('lockkeeper', 'lockkeeper_data') and p.proconfig::text like '%enable_seqscan%' loop
      execute format('alter function %s set %I = %s', v_function, v_setting, case when v_setting in ('enable_seqscan', p_join) then 'on' else 'off' end);
    end loop;
  end loop;
end $$;

-- The same for this session, which calls the others.
create procedure races.plan_session_with(p_join text) language plpgsql as $$
begin
  perform set_config('enable_' || u, (u in ('seqscan', substr(p_join, 8)))::text, false)
  from unnest('{seqscan,indexscan,indexonlyscan,bitmapscan,nestloop,hashjoin,mergejoin}'::text[]) u;
end $$;

-- What the world is made from, in another physical order.
create procedure races.shuffle(p_seed text) language plpgsql as $$
declare v_table text;
begin
  for v_table in select lockkeeper_testing.tables() loop
    execute format('create temporary table shuffled on commit drop as table lockkeeper_testing.%I', v_table);
    execute format('truncate lockkeeper_testing.%I', v_table);
    execute format('insert into lockkeeper_testing.%I select * from shuffled s order by md5(s::text || %L)', v_table, p_seed);
    drop table shuffled;
  end loop;
end $$;
