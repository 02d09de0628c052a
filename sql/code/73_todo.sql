-- What a tick has to do.

create function lockkeeper.todo(leases uuid[] default '{}', out lane boolean, out admit boolean, out sleep boolean, out reap boolean, out sweep boolean, out expire boolean, out overrides boolean,
  out tickets boolean, out claim boolean, out keep boolean)
language plpgsql volatile
set search_path = pg_catalog, pg_temp set plan_cache_mode = force_generic_plan set jit = off set enable_seqscan = off set enable_bitmapscan = off set enable_hashjoin = off set enable_mergejoin = off set enable_material = off as $$
declare v_now timestamptz := lockkeeper.now();
begin
  lane := exists (select from lockkeeper_data.waiting w where w.lane_id = 0) or lockkeeper_data.stale('step') or lockkeeper_data.stale('run');
  admit := exists (select from lockkeeper_data.open_lanes o where o.counts = 'run');
  sleep := lockkeeper_data.unserved_versions() <> '{}';
  -- A start or a promotion is noted at once, not when the first lease has run out.
  reap := exists (select lockkeeper_data.expired_leases())
    or exists (select from lockkeeper_data.server s where s.started_at <> pg_postmaster_start_time() or s.timeline <> lockkeeper_data.timeline());
  sweep := exists (select from lockkeeper_data.attempts a where a.times_out_at < v_now)
    or exists (select from lockkeeper_data.leases l where l.ended)
    or exists (select from lockkeeper_data.attempts a where a.unnamed >= 2)
    or exists (select from lockkeeper_data.backoffs b where b.ready_at <= v_now);
  expire := exists (select from lockkeeper_data.deadlines d where d.at < v_now);
  overrides := exists (select from lockkeeper_data.limits l where l.override_until <= v_now);
  tickets := exists (select from lockkeeper_data.ticket_changes t);
  claim := lockkeeper_data.claimable(array(select distinct j.version_id from lockkeeper_data.lease_jobs j where j.lease_id = any (leases)));
  keep := exists (select from lockkeeper_data.keeper k where k.until <= v_now);
end $$;
comment on function lockkeeper.todo(uuid[]) is 'What a tick of a coordinator would find to do, and whether one of these leases should claim: one look for a pod''s loops. Index probes only; writes nothing.';
