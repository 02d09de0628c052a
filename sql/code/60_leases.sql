-- Leases: a worker's proof of life, and what it serves.

-- Opens or shuts the keys of job versions, by whether a live lease serves them. The caller holds their locks.
create function lockkeeper_data.count_workers(p_versions int[]) returns void
language plpgsql volatile as $$
#variable_conflict use_column
begin
    update lockkeeper_data.counters c set capacity = n.capacity
    from (select v.workers_key, case when exists (select from lockkeeper_data.lease_jobs j join lockkeeper_data.leases l on l.id = j.lease_id
                                                  where j.version_id = v.id and not l.ended) then 0 else -1 end as capacity
          from unnest(p_versions) u(id) join lockkeeper_data.job_versions v on v.id = u.id) n
    where c.key_id = n.workers_key and c.capacity <> n.capacity;
end $$;

create function lockkeeper_data.workers_keys(p_versions int[]) returns bigint[]
language plpgsql stable as $$
begin
  return array(select distinct v.workers_key from unnest(p_versions) u(id) join lockkeeper_data.job_versions v on v.id = u.id);
end $$;

-- Job versions with open lanes that no live lease serves.
create function lockkeeper_data.unserved_versions() returns int[]
language plpgsql stable as $$
begin
  return array(select distinct v.id from lockkeeper_data.job_versions v join lockkeeper_data.counters c on c.key_id = v.workers_key
             where c.capacity < 0 and exists (select from lockkeeper_data.open_lanes o where o.counts = 'step' and o.version_id = v.id));
end $$;

create function lockkeeper_data.lock_lease(p_lease uuid) returns lockkeeper_data.leases
language plpgsql as $$
declare v_lease lockkeeper_data.leases;
begin
  select * into v_lease from lockkeeper_data.leases where id = p_lease and not ended for no key update;
  if not found then
    perform lockkeeper_data.refuse('the lease of this worker has ended', 'Abort all that it runs, and open a new lease.', 'LK005');
  end if;
  return v_lease;
end $$;

-- The last claim of a lease that granted something.
create function lockkeeper_data.last_claim(p_lease uuid) returns lockkeeper_data.claims
language plpgsql volatile as $$
declare v_last lockkeeper_data.claims;
begin
  select * into v_last from lockkeeper_data.claims c where c.lease_id = p_lease order by c.number desc limit 1;
  return v_last;
end $$;

-- Versions that a lease accepts and does not serve yet, the youngest first.
create function lockkeeper_data.accepted_versions(p_lease uuid, p_n int) returns int[]
language plpgsql stable as $$
begin
  return array(select distinct v.id from lockkeeper_data.lease_accepts a
               join lockkeeper_data.job_versions v on v.job = a.job and (a.shape is null or v.shape = a.shape)
               where a.lease_id = p_lease and not exists (select from lockkeeper_data.lease_jobs j where j.lease_id = p_lease and j.version_id = v.id)
               order by v.id desc limit p_n);
end $$;

-- The caller holds the configuration lock. One lock phase.
create function lockkeeper_data.serve_versions(p_leases uuid[], p_versions int[]) returns void
language plpgsql as $$
declare v_keys bigint[] := lockkeeper_data.workers_keys(p_versions);
begin
  insert into lockkeeper_data.lease_jobs (lease_id, version_id) select l, v from unnest(p_leases) l, unnest(p_versions) v on conflict do nothing;
  perform lockkeeper_data.lock_keys(array(select (k & 2047)::int from unnest(v_keys) k));
  perform lockkeeper_data.count_workers(p_versions);
  perform lockkeeper_data.pass_batons(v_keys);
end $$;

create function lockkeeper.serve(lease uuid, versions jsonb) returns boolean
language plpgsql set search_path = pg_catalog, pg_temp set jit = off as $$
declare
  v_versions int[];
  v_missing text;
  v_wrong jsonb;
  v_others int[];
begin
  if jsonb_typeof(versions) is distinct from 'array' or exists (select from jsonb_array_elements(versions) e where jsonb_typeof(e) <> 'object') then
    perform lockkeeper_data.refuse(format('versions is %s, allowed is an array of { job, version, accepts }', lockkeeper_data.shown(versions)), 'Name each job version that the worker knows.', p_field => 'versions');
  end if;
  select e -> 'accepts' into v_wrong from jsonb_array_elements(versions) e where coalesce(e ->> 'accepts', 'same') not in ('same', 'exact', 'any') limit 1;
  if found then
    perform lockkeeper_data.refuse(format('accepts is %s, allowed are "same", "exact" and "any"', lockkeeper_data.shown(v_wrong)),
      'same: every version with the same steps and edges; exact: this version alone; any: every version of the job.', p_field => 'accepts');
  end if;
  perform lockkeeper_data.lock_configuration();
  perform lockkeeper_data.lock_lease(lease);
  select string_agg(coalesce(e ->> 'job', 'null'), ', ') filter (where v.id is null), array_agg(v.id)
  into v_missing, v_versions
  from jsonb_array_elements(versions) e
  left join lockkeeper_data.job_versions v on v.job = e ->> 'job' and v.version = e ->> 'version';
  if v_missing is not null then
    perform lockkeeper_data.refuse(format('job %s is not registered in that version', v_missing), 'Call register first.', 'LK003');
  end if;
  if cardinality(v_versions) > 64 then
    perform lockkeeper_data.refuse(format('%s job versions at once, allowed are 64', cardinality(v_versions)), 'Call serve several times.');
  end if;
  insert into lockkeeper_data.lease_accepts (lease_id, job, shape)
  select distinct lease, v.job, case when e ->> 'accepts' = 'any' then null else v.shape end
  from jsonb_array_elements(versions) e join lockkeeper_data.job_versions v on v.job = e ->> 'job' and v.version = e ->> 'version'
  where e ->> 'accepts' is distinct from 'exact' on conflict do nothing;
  v_others := lockkeeper_data.accepted_versions(lease, 65);
  v_versions := (coalesce(v_versions, '{}') || v_others)[1:64];
  perform lockkeeper_data.serve_versions(array[lease], v_versions);
  return lockkeeper_data.accepted_versions(lease, 1) <> '{}';
end $$;
comment on function lockkeeper.serve(uuid, jsonb) is
  'The lease also serves these job versions, an array of { job, version, accepts }, at most 64 a call. accepts: same (if left out: also every version with the same steps and edges, '
  'older or registered later), exact or any. What waited for a worker that knows them is woken. True: more versions are accepted than one call takes, call again with an empty array.';

create function lockkeeper.open_lease(worker text, room int, versions jsonb, lease_ms int default 15000) returns uuid
language plpgsql set search_path = pg_catalog, pg_temp set jit = off as $$
declare v_id uuid := gen_random_uuid();
begin
  if worker is null or worker = '' then
    perform lockkeeper_data.refuse('worker is empty', 'Name the worker, for people.');
  end if;
  if room is null or room < 1 then
    perform lockkeeper_data.refuse(format('room is %s, allowed are whole numbers from 1', coalesce(room::text, 'null')), 'Say how many steps the worker runs at once.');
  end if;
  if lease_ms is null or lease_ms < 100 then
    perform lockkeeper_data.refuse(format('lease_ms is %s, allowed are numbers from 100', coalesce(lease_ms::text, 'null')), 'A lease of some seconds survives a slow network.');
  end if;
  insert into lockkeeper_data.leases (id, worker, room, lease_ms, opened_at, expires_at)
  values (v_id, worker, room, lease_ms, lockkeeper.now(), lockkeeper.now() + lease_ms * interval '1 millisecond');
  perform lockkeeper.serve(v_id, versions);
  return v_id;
end $$;
comment on function lockkeeper.open_lease(text, int, jsonb, int) is
  'Opens a lease for a worker with room for so many steps at once, which serves the job versions given as serve takes them, at most 64 (serve adds more). '
  'Answers its id, a secret of that worker. The lease ends when it is not renewed for lease_ms milliseconds.';

create function lockkeeper.renew_lease(lease uuid, held jsonb, lease_ms int default null)
returns table (run_id bigint, place int, attempt int, reason text)
language plpgsql set search_path = pg_catalog, pg_temp set plan_cache_mode = force_generic_plan set jit = off set enable_seqscan = off as $$
#variable_conflict use_column
begin
  perform lockkeeper_data.check_isolation();
  -- A renewal that a crash of the server loses does no harm: nothing is reaped within a lease of its start. So its commit waits for no disk.
  if pg_current_xact_id_if_assigned() is null then
    perform set_config('synchronous_commit', 'off', true);
  end if;
  update lockkeeper_data.leases l
  set lease_ms = coalesce(renew_lease.lease_ms, l.lease_ms),
      expires_at = lockkeeper.now() + coalesce(renew_lease.lease_ms, l.lease_ms) * interval '1 millisecond'
  where l.id = renew_lease.lease and not l.ended;
  if not found then
    perform lockkeeper_data.refuse('the lease of this worker has ended', 'Abort all that it runs, and open a new lease.', 'LK005');
  end if;
  delete from lockkeeper_data.claims c where c.lease_id = renew_lease.lease and c.number < (lockkeeper_data.last_claim(renew_lease.lease)).number;
  -- An idle worker's: one probe instead of two joins.
  if held = '[]' and not exists (select from lockkeeper_data.attempts b where b.lease_id = renew_lease.lease) then return; end if;
  -- A claim's answer that never arrived is held by nobody: no renewal names it. What is being ended right now is passed over.
  update lockkeeper_data.attempts a set unnamed = n.unnamed
  from (select b.run_id, b.place, case when h.run_id is null then b.unnamed + 1 else 0 end as unnamed
        from lockkeeper_data.attempts b
        left join jsonb_to_recordset(held) h(run_id bigint, place int, attempt int) on h.run_id = b.run_id and h.place = b.place and h.attempt = b.attempt
        where b.lease_id = renew_lease.lease and (h.run_id is null or b.unnamed > 0)
        for update of b skip locked) n
  where a.run_id = n.run_id and a.place = n.place;
  return query
    select h.run_id, h.place, h.attempt, case when a.run_id is null then 'lost' else 'canceled' end
    from jsonb_to_recordset(held) h(run_id bigint, place int, attempt int)
    left join lockkeeper_data.attempts a
      on a.run_id = h.run_id and a.place = h.place and a.attempt = h.attempt and a.lease_id = renew_lease.lease
    left join lockkeeper_data.runs r on r.id = a.run_id
    where a.run_id is null or r.canceling;
end $$;
comment on function lockkeeper.renew_lease(uuid, jsonb, int) is
  'Renews a lease and names the attempts that the worker holds, an array of { run_id (text), place, attempt }. '
  'Answers those that it must abort: reason is canceled, or lost (the attempt is no longer the worker''s). LK005: the lease has ended, abort all. '
  'A running attempt that two renewals did not name goes back to ready. A transaction that begins with it commits without waiting for the disk: call it by itself.';

-- Ends leases whose row the caller locked: from here on their attempts can do nothing.
create function lockkeeper_data.end_leases(p_leases uuid[]) returns void
language plpgsql as $$
declare
  v_versions int[] := array(select distinct version_id from lockkeeper_data.lease_jobs where lease_id = any (p_leases));
begin
  update lockkeeper_data.leases set ended = true where id = any (p_leases);
  perform lockkeeper_data.lock_keys(array(select (k & 2047)::int from unnest(lockkeeper_data.workers_keys(v_versions)) k));
  perform lockkeeper_data.count_workers(v_versions);
end $$;

create function lockkeeper.close_lease(lease uuid) returns void
language plpgsql set search_path = pg_catalog, pg_temp set jit = off as $$
begin
  perform lockkeeper_data.lock_configuration();
  perform from lockkeeper_data.leases l where l.id = lease for update;
  perform lockkeeper_data.end_leases(array[lease]);
end $$;
comment on function lockkeeper.close_lease(uuid) is
  'Ends a lease before its time. What the worker still holds is lost and is tried again by others. Closing an ended lease changes nothing.';

-- Expired leases, unless the server is younger than they are: after a start or a promotion nobody could renew for a while.
create function lockkeeper_data.expired_leases() returns setof uuid
language plpgsql volatile as $$
#variable_conflict use_column
begin
  return query
    select l.id from lockkeeper_data.leases l
    where not l.ended and l.expires_at < lockkeeper.now()
      and (select s.since from lockkeeper_data.server s) + l.lease_ms * interval '1 millisecond' < lockkeeper.now();
end $$;

create function lockkeeper_data.timeline() returns text
language plpgsql volatile as $$
begin
  return case when pg_is_in_recovery() then '' else substr(pg_walfile_name(pg_current_wal_lsn()), 1, 8) end;
end $$;

create function lockkeeper.reap() returns int
language plpgsql set search_path = pg_catalog, pg_temp set jit = off set enable_seqscan = off as $$
declare v_leases uuid[];
begin
  perform lockkeeper_data.lock_configuration();
  update lockkeeper_data.server set since = case when started_at = '-infinity' then since else lockkeeper.now() end,
         started_at = pg_postmaster_start_time(), timeline = lockkeeper_data.timeline()
  where started_at <> pg_postmaster_start_time() or timeline <> lockkeeper_data.timeline();
  v_leases := array(select id from lockkeeper_data.leases where id in (select lockkeeper_data.expired_leases()) order by id limit 20 for update skip locked);
  -- A renewal that came between the look and the lock counts.
  v_leases := array(select id from lockkeeper_data.expired_leases() id where id = any (v_leases));
  if v_leases <> '{}' then
    perform lockkeeper_data.end_leases(v_leases);
  end if;
  return cardinality(v_leases);
end $$;
comment on function lockkeeper.reap() is
  'Ends the leases that ran out, and answers how many: what they held is released by sweep. Nothing is reaped within a lease of the server''s start or promotion.';
