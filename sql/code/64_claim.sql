-- Claim: ready steps take their slots, and run. Each function here is one autocommit call with one lock phase.

create function lockkeeper_data.claimed(p_lease uuid, p_number bigint) returns jsonb
language plpgsql volatile as $$
begin
  return (
    select coalesce(jsonb_agg(jsonb_build_object(
      'run_id', a.run_id::text, 'place', a.place, 'attempt', a.attempt, 'job', v.job, 'version', v.version, 'step', js.name,
      'deployment', d.name, 'tags', js.tags, 'run_tags', r.tags, 'fencing_token', a.token, 'timeout_ms', js.timeout_ms,
      'input', (select i.input from lockkeeper_data.inputs i where i.run_id = a.run_id),
      'outputs', case when js.after = '{}' then '{}' else (
        select coalesce(jsonb_object_agg(b.name, o.output), '{}')
        from lockkeeper_data.job_steps b
        join lockkeeper_data.outcomes o on o.run_id = a.run_id and o.place = b.place and o.outcome = 'succeeded'
        where b.version_id = r.version_id and b.place = any (js.after)) end) order by a.token), '[]')
    from lockkeeper_data.attempts a
    join lockkeeper_data.runs r on r.id = a.run_id
    join lockkeeper_data.job_versions v on v.id = r.version_id
    join lockkeeper_data.job_steps js on js.version_id = r.version_id and js.place = a.place
    join lockkeeper_data.deployments d on d.id = r.deployment_id
    where a.lease_id = p_lease and a.claim_number = p_number);
end $$;

-- The lanes that a decision grants from, puts to sleep or found empty, in the order of the lanes.
create function lockkeeper_data.touched(p_lanes bigint[], d lockkeeper_data.decision) returns bigint[]
language sql immutable
return array(select id from unnest(p_lanes) with ordinality u(id, no) where id = any (d.examined) or id = any (d.empty) order by no);

-- Whether a claim for these job versions would find something to do.
create function lockkeeper_data.claimable(p_versions int[]) returns boolean
language plpgsql volatile as $$
begin
  return p_versions <> '{}' and (lockkeeper_data.first_open_lanes('step', p_versions) <> '{}' or lockkeeper_data.batons_of_others(p_versions) <> '{}');
end $$;

create function lockkeeper.claim(lease uuid, number bigint, n int, out steps jsonb, out more boolean)
language plpgsql
set search_path = pg_catalog, pg_temp set plan_cache_mode = force_generic_plan set jit = off set enable_seqscan = off set enable_bitmapscan = off set enable_hashjoin = off set enable_mergejoin = off set enable_material = off set lock_timeout = '30s' as $$
declare
  v_versions int[] := array(select version_id from lockkeeper_data.lease_jobs where lease_id = lease);
  v_lease lockkeeper_data.leases;
  v_chosen bigint[];
  v_lanes bigint[];
  v_cut bigint[];
  v_keys bigint[];
  v_count int;
  v_now timestamptz := lockkeeper.now();
  d lockkeeper_data.decision;
  v_first lockkeeper_data.open_lanes;
  v_opened lockkeeper_data.open_lanes;
  v_within lockkeeper_data.decision;
begin
  steps := '[]';
  more := false;
  -- With nothing to do, nothing is locked and nothing written.
  if not lockkeeper_data.claimable(v_versions)
     and exists (select from lockkeeper_data.leases l where l.id = lease and not l.ended and l.claim_number <> number) then
    return;
  end if;
  perform lockkeeper_data.lock_configuration();
  v_lease := lockkeeper_data.lock_lease(lease);
  if number <= v_lease.claim_number then
    steps := case when number = v_lease.claim_number then lockkeeper_data.claimed(lease, number) else '[]' end;
    return;
  end if;
  n := least(n, v_lease.room - (select count(*) from lockkeeper_data.attempts a where a.lease_id = lease));
  if n <= 0 then return; end if;
  v_chosen := lockkeeper_data.first_open_lanes('step', v_versions);
  v_lanes := v_chosen;
  if v_lanes = '{}' then
    v_keys := lockkeeper_data.batons_of_others(v_versions);
    perform lockkeeper_data.lock_keys(array(select (k & 2047)::int from unnest(v_keys) k));
    perform lockkeeper_data.take_batons(v_keys, v_versions);
    more := v_keys <> '{}';
    return;
  end if;
  -- Of many open lanes, only those are owned that this claim needs; others are left to other claims.
  if cardinality(v_lanes) > 2 then
    d := lockkeeper_data.decide(v_lanes, n);
    -- What it did not come to is not among the lanes that it touched.
    more := cardinality(v_lanes) >= 100 or d.more or d.held;
    v_lanes := lockkeeper_data.touched(v_lanes, d);
  end if;
  v_count := cardinality(v_lanes);
  select o.owned, o.cut into v_lanes, v_cut from lockkeeper_data.own_lanes(v_lanes) o;
  if v_lanes = '{}' then more := false; return; end if;
  perform lockkeeper_data.lock_lane_keys(v_lanes);
  d := lockkeeper_data.decide(v_lanes, n);
  -- Nobody takes the room of one that comes first, in a lane for which the locks did not suffice, unless nobody could be granted then.
  v_first := lockkeeper_data.passed_over(v_cut, d);
  if v_first.run_id is not null then
    v_within := lockkeeper_data.decide(v_lanes, n, null, v_first);
    if v_within.run_ids <> '{}' then d := v_within; else v_first := null; end if;
  end if;
  -- Nor that of one in a lane that was opened since the choice; from now on, nobody can pass the batons of our keys.
  if d.run_ids <> '{}' then
    v_opened := lockkeeper_data.opened_since('step', v_versions, v_chosen, array(select k.key_id from unnest(d.keys, d.used) k(key_id, used) where k.used > 0));
    if v_opened.run_id is not null then d := lockkeeper_data.decide(v_lanes, n, null, lockkeeper_data.earlier(v_opened, v_first)); end if;
  end if;
  more := more or d.more or cardinality(v_lanes) < v_count;
  more := lockkeeper_data.write_decision(d) or d.held or v_opened.run_id is not null or (more and (d.run_ids <> '{}' or d.asleep_lanes <> '{}' or d.empty <> '{}'));
  -- With room left, there may be batons to take over, which the next call does.
  more := cardinality(d.run_ids) < n and (more or lockkeeper_data.batons_of_others(v_versions) <> '{}');
  if d.run_ids = '{}' then return; end if;

  update lockkeeper_data.leases l set claim_number = number where l.id = lease;
  update lockkeeper_data.steps s set state = 'running', attempts = s.attempts + 1
  from unnest(d.run_ids, d.places) g(run_id, place) where s.run_id = g.run_id and s.place = g.place;
  insert into lockkeeper_data.attempts (run_id, place, attempt, lease_id, claim_number, started_at, times_out_at)
  select g.run_id, g.place, g.attempts + 1, lease, number, v_now, v_now + js.timeout_ms * interval '1 millisecond'
  from unnest(d.run_ids, d.places, d.attempts) with ordinality g(run_id, place, attempts, no)
  join lockkeeper_data.runs r on r.id = g.run_id
  join lockkeeper_data.job_steps js on js.version_id = r.version_id and js.place = g.place
  order by g.no;
  steps := lockkeeper_data.claimed(lease, number);
end $$;
comment on function lockkeeper.claim(uuid, bigint, int) is
  'Claims up to n ready steps for a lease, in order: they take their slots and run. Claims are numbered by the lease, rising: the last number again gets its answer again, '
  'an older one nothing. more: fewer than n were granted, and it is worth calling again at once. LK005: the lease has ended.';
