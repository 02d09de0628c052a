-- What a tick has to do.

create function lockkeeper.todo(leases uuid[] default '{}', boss text default null, out lane boolean, out admit boolean, out sleep boolean, out reap boolean, out sweep boolean, out expire boolean,
  out overrides boolean, out tickets boolean, out claim boolean, out keep boolean, out submissions boolean, out strays boolean)
language plpgsql volatile
set search_path = pg_catalog, pg_temp set plan_cache_mode = force_generic_plan set jit = off set enable_seqscan = off set enable_bitmapscan = off set enable_hashjoin = off set enable_mergejoin = off set enable_material = off as $$
declare
  v_now timestamptz := lockkeeper.now();
  v_open boolean;
begin
  -- One statement, since each of its own costs more than the probes in it; and the time as a value, since an index is not searched for lockkeeper.now().
  select
    exists (select from lockkeeper_data.waiting w where w.lane_id = 0)
      or exists (select from lockkeeper_data.lanes l where l.counts = 'step' and l.stamp < (select c.stamp from lockkeeper_data.configuration c))
      or exists (select from lockkeeper_data.lanes l where l.counts = 'run' and l.stamp < (select c.stamp from lockkeeper_data.configuration c)),
    exists (select from lockkeeper_data.open_lanes o where o.counts = 'run'),
    exists (select from lockkeeper_data.open_lanes o where o.counts = 'step'),
    -- As expired_leases. A start or a promotion is noted at once, not when the first lease has run out.
    exists (select from lockkeeper_data.leases l where not l.ended and l.expires_at < v_now
            and (select s.since from lockkeeper_data.server s) + l.lease_ms * interval '1 millisecond' < v_now)
      or exists (select from lockkeeper_data.server s where s.started_at <> pg_postmaster_start_time() or s.timeline <> lockkeeper_data.timeline()),
    exists (select from lockkeeper_data.attempts a where a.times_out_at < v_now)
      or exists (select from lockkeeper_data.leases l where l.ended)
      or exists (select from lockkeeper_data.attempts a where a.unnamed >= 2)
      or exists (select from lockkeeper_data.backoffs b where b.ready_at <= v_now),
    exists (select from lockkeeper_data.deadlines d where d.at < v_now),
    exists (select from lockkeeper_data.limits l where l.override_until <= v_now),
    exists (select from lockkeeper_data.ticket_changes t),
    exists (select from lockkeeper_data.keeper k where k.until <= v_now)
  into lane, admit, v_open, reap, sweep, expire, overrides, tickets, keep;
  -- Both look at open lanes of steps, and at an idle time there is none.
  sleep := v_open and lockkeeper_data.unserved_versions() <> '{}';
  claim := v_open and lockkeeper_data.claimable(array(select distinct j.version_id from lockkeeper_data.lease_jobs j where j.lease_id = any (leases)));

  submissions := false;
  strays := false;
  if boss is null then return; end if;
  if to_regclass(boss || '.job') is null then
    perform lockkeeper_data.refuse(format('pg-boss is not installed in schema %s', boss), 'Run `lockkeeper migrate`, with the same PGBOSS_SCHEMA.', 'LK006');
  end if;
  -- Its tables without their schema, so that their plans are made once a session: that takes Postgres longer than all the rest of this look.
  perform set_config('search_path', boss || ', pg_temp', true);
  -- In the orders of pg-boss's indexes …_i14 (states in work) and …_i16 (what has ended): one probe for each state, however many are delayed.
  select
    coalesce((select true from job j where j.name = 'lockkeeper' || '.submit' and j.state = 'created' and not j.blocked and j.start_after <= job_now() order by j.start_after limit 1),
             (select true from job j where j.name = 'lockkeeper' || '.submit' and j.state = 'retry' and not j.blocked and j.start_after <= job_now() order by j.start_after limit 1), false),
    coalesce((select true from job j where j.name = 'lockkeeper' || '.runs' and j.completed_on is not null order by j.completed_on limit 1),
             (select true from job j where j.name = 'lockkeeper' || '.runs' and j.state = 'retry' order by j.blocked, j.start_after limit 1),
             (select true from job j where j.name = 'lockkeeper' || '.runs' and j.state = 'active' order by j.blocked, j.start_after limit 1), false)
  into submissions, strays;
end $$;
comment on function lockkeeper.todo(uuid[], text) is
  'What a tick of a coordinator would find to do, and whether one of these leases should claim: one look for a pod''s loops. boss: the schema of pg-boss, written as in SQL, where it '
  'also looks for submissions, and for tickets that others changed. Index probes only; writes nothing.';
