-- Exchange: a worker's attempts end, and ready steps take the slots: one call with one lock phase for both.

-- Attempts that run, as their worker gets them.
create function lockkeeper_data.claimed(p_run_ids bigint[], p_places int[]) returns jsonb
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
    from unnest(p_run_ids, p_places) g(run_id, place)
    join lockkeeper_data.attempts a on a.run_id = g.run_id and a.place = g.place
    join lockkeeper_data.runs r on r.id = a.run_id
    join lockkeeper_data.job_versions v on v.id = r.version_id
    join lockkeeper_data.job_steps js on js.version_id = r.version_id and js.place = a.place
    join lockkeeper_data.deployments d on d.id = r.deployment_id);
end $$;

-- The lanes that a decision grants from, puts to sleep or found empty, in the order of the lanes.
create function lockkeeper_data.touched(p_lanes bigint[], d lockkeeper_data.decision) returns bigint[]
language plpgsql immutable as $$
begin
  return array(select id from unnest(p_lanes) with ordinality u(id, no) where id = any (d.examined) or id = any (d.empty) order by no);
end $$;

-- Whether a claim for these job versions would find something to do.
create function lockkeeper_data.claimable(p_versions int[]) returns boolean
language plpgsql volatile as $$
begin
  return p_versions <> '{}' and (lockkeeper_data.first_open_lanes('step', p_versions) <> '{}' or lockkeeper_data.batons_of_others(p_versions) <> '{}');
end $$;

-- Which loops of others may find something to do: runs may be admitted, steps claimed. An open lane may be empty: then nobody has to hurry.
create function lockkeeper_data.left_over() returns text[]
language plpgsql volatile as $$
begin
  return array(select w from (values
    ('admit', exists (select from lockkeeper_data.open_lanes o where o.counts = 'run' and (select true from lockkeeper_data.waiting w where w.lane_id = o.lane_id limit 1))),
    ('claim', exists (select from lockkeeper_data.open_lanes o where o.counts = 'step' and (select true from lockkeeper_data.waiting w where w.lane_id = o.lane_id limit 1)))) x(w, there) where x.there);
end $$;

-- The attempts that end, of those which are the lease's: once each, as first said.
create function lockkeeper_data.endings_of(p_lease uuid, p_items lockkeeper_data.ending[]) returns lockkeeper_data.ending[]
language plpgsql volatile as $$
begin
  return array(
    select row(d.ordinal, d.run_id, d.place, d.attempt, d.outcome, d.output, d.error)::lockkeeper_data.ending
    from (select distinct on (i.run_id, i.place) i.* from unnest(p_items) i
          -- Looked up one by one: by their lease, each would be compared with all.
          cross join lateral (select x.attempt, x.lease_id from lockkeeper_data.attempts x where x.run_id = i.run_id and x.place = i.place offset 0) a
          where a.attempt = i.attempt and a.lease_id = p_lease
          order by i.run_id, i.place, i.ordinal) d
    order by d.ordinal);
end $$;

-- Takes the steps that a decision granted: they run under the lease, by this number. p_held: what it has besides.
create function lockkeeper_data.start_steps(p_lease uuid, p_number bigint, p_held int, d lockkeeper_data.decision) returns jsonb
language plpgsql as $$
declare v_now timestamptz := lockkeeper.now();
begin
  insert into lockkeeper_data.claims (lease_id, number, held) values (p_lease, p_number, p_held + cardinality(d.run_ids));
  update lockkeeper_data.steps s set state = 'running', attempts = s.attempts + 1
  from unnest(d.run_ids, d.places) g(run_id, place) where s.run_id = g.run_id and s.place = g.place;
  insert into lockkeeper_data.attempts (run_id, place, attempt, lease_id, claim_number, started_at, times_out_at)
  select g.run_id, g.place, g.attempts + 1, p_lease, p_number, v_now, v_now + js.timeout_ms * interval '1 millisecond'
  from unnest(d.run_ids, d.places, d.attempts) with ordinality g(run_id, place, attempts, no)
  join lockkeeper_data.runs r on r.id = g.run_id
  join lockkeeper_data.job_steps js on js.version_id = r.version_id and js.place = g.place
  order by g.no;
  return lockkeeper_data.claimed(d.run_ids, d.places);
end $$;

-- Decides what is granted of lanes that the caller owns, under the locks of their keys. chosen: the lanes of its choice, cut: those that it could
-- not lock. The last three: what it gives back, not yet counted.
create function lockkeeper_data.decide_claim(p_lanes bigint[], p_n int, p_versions int[], p_chosen bigint[], p_cut bigint[], p_keys bigint[], p_used bigint[], p_asked bigint[],
  out d lockkeeper_data.decision, out opened boolean)
language plpgsql as $$
declare
  v_first lockkeeper_data.open_lanes;
  v_opened lockkeeper_data.open_lanes;
  v_within lockkeeper_data.decision;
begin
  d := lockkeeper_data.decide('step', p_lanes, p_n, null, null, p_keys, p_used, p_asked);
  -- Nobody takes the room of one that comes first, in a lane for which the locks did not suffice, unless nobody could be granted then.
  v_first := lockkeeper_data.passed_over(p_cut, d);
  if v_first.run_id is not null then
    v_within := lockkeeper_data.decide('step', p_lanes, p_n, null, v_first, p_keys, p_used, p_asked);
    if v_within.run_ids <> '{}' then d := v_within; else v_first := null; end if;
  end if;
  -- Nor that of one in a lane that was opened since the choice; from now on, nobody can pass the batons of our keys.
  if d.run_ids <> '{}' then
    v_opened := lockkeeper_data.opened_since('step', p_versions, p_chosen, d);
    if v_opened.run_id is not null then
      d := lockkeeper_data.decide('step', p_lanes, p_n, null, lockkeeper_data.earlier(v_opened, v_first), p_keys, p_used, p_asked);
    end if;
  end if;
  opened := v_opened.run_id is not null;
end $$;

-- Ends attempts and claims up to n ready steps. The lanes are chosen before any key is locked, those that will wake at the keys given back too;
-- these are granted without being opened first. A claim whose number is the last gets its answer again; without a number nothing is claimed.
-- ours: what of the items was the lease's; done: of how many of those the end fitted into the key locks.
create function lockkeeper_data.exchange(p_lease uuid, p_items lockkeeper_data.ending[], p_number bigint, p_n int,
  out ours lockkeeper_data.ending[], out done int, out steps jsonb, out more boolean, out wakes text[])
language plpgsql as $$
declare
  v_versions int[];
  v_lease lockkeeper_data.leases;
  v_last lockkeeper_data.claims;
  v_held int;
  p lockkeeper_data.change_plan;
  w record;
  v_locks int[] := '{}';
  v_chosen bigint[]; v_lanes bigint[] := '{}'; v_cut bigint[];
  v_batons bigint[] := '{}';
  v_count int;
  v_keys bigint[] := '{}'; v_used bigint[] := '{}'; v_asked bigint[] := '{}';
  d lockkeeper_data.decision;
  c record;
  v_passed boolean;
begin
  ours := '{}'; done := 0; steps := '[]'; more := false; wakes := '{}';
  perform lockkeeper_data.lock_configuration();
  if p_number is not null then
    v_lease := lockkeeper_data.lock_lease(p_lease);
    v_last := lockkeeper_data.last_claim(p_lease);
    if p_number <= v_last.number then
      p_n := 0;
      if p_number = v_last.number then
        select lockkeeper_data.claimed(array_agg(a.run_id), array_agg(a.place)) into steps from lockkeeper_data.attempts a where a.lease_id = p_lease and a.claim_number = p_number;
      end if;
    end if;
  else
    select l.* into v_lease from lockkeeper_data.leases l where l.id = p_lease and not l.ended for share;
    if not found then return; end if;
    p_n := 0;
  end if;

  if p_items <> '{}' then
    perform lockkeeper_data.lock_runs(array(select i.run_id from unnest(p_items) i));
    ours := lockkeeper_data.endings_of(p_lease, p_items);
  end if;
  if ours <> '{}' then
    p := lockkeeper_data.plan_changes(ours, '{}', '{}');
    v_locks := p.locks;
    done := cardinality(p.endings);
  end if;

  if p_n > 0 then
    v_held := coalesce(v_last.held, 0);
    -- What ended since without a claim is not in that number: counted only where it matters.
    if p_n > v_lease.room - v_held + done then
      v_held := (select count(*) from lockkeeper_data.attempts a where a.lease_id = p_lease);
    end if;
    v_held := v_held - done;
    p_n := least(p_n, v_lease.room - v_held);
  end if;
  if p_n > 0 then
    v_versions := array(select version_id from lockkeeper_data.lease_jobs where lease_id = p_lease);
    v_chosen := lockkeeper_data.first_open_lanes('step', v_versions) || lockkeeper_data.sleepers_at('step', p.keys, p.amounts, v_versions);
    v_lanes := v_chosen;
    if v_lanes = '{}' and ours = '{}' then
      v_batons := lockkeeper_data.batons_of_others(v_versions);
      v_locks := lockkeeper_data.lock_numbers(v_batons);
    end if;
    -- Of many lanes, only those are owned that this claim needs; others are left to other claims.
    if cardinality(v_lanes) > 2 then
      d := lockkeeper_data.decide('step', v_lanes, p_n);
      -- What it did not come to is not among the lanes that it touched.
      more := cardinality(v_lanes) >= 100 or d.more or d.held;
      v_lanes := lockkeeper_data.touched(v_lanes, d);
    end if;
    v_count := cardinality(v_lanes);
    c := lockkeeper_data.own_lanes(v_lanes, v_locks);
    v_lanes := c.owned;
    v_cut := c.cut;
  end if;
  perform lockkeeper_data.lock_lane_keys(v_lanes, v_locks);

  if ours <> '{}' then
    w := lockkeeper_data.write_changes(p);
    v_keys := coalesce(w.keys, '{}'); v_used := coalesce(w.used, '{}'); v_asked := coalesce(w.asked, '{}');
  end if;
  if v_lanes = '{}' then
    perform lockkeeper_data.count_slots(v_keys, v_used, v_asked);
    perform lockkeeper_data.pass_batons(v_keys);
    perform lockkeeper_data.take_batons(v_batons, v_versions);
    more := p_n > 0 and (v_batons <> '{}' or ours <> '{}');
  else
    c := lockkeeper_data.decide_claim(v_lanes, p_n, v_versions, v_chosen, v_cut, v_keys, v_used, v_asked);
    d := c.d;
    more := more or d.more or cardinality(v_lanes) < v_count;
    v_passed := lockkeeper_data.write_decision(d, v_keys, v_used, v_asked);
    more := v_passed or d.held or c.opened or (more and (d.run_ids <> '{}' or d.asleep_lanes <> '{}' or d.empty <> '{}'));
    -- With room left, there may be batons to take over, which the next call does.
    more := cardinality(d.run_ids) < p_n and (more or lockkeeper_data.batons_of_others(v_versions) <> '{}');
    if d.run_ids <> '{}' then steps := lockkeeper_data.start_steps(p_lease, p_number, v_held, d); end if;
  end if;
  if p.ending <> '{}' then
    perform lockkeeper_data.end_keys(p.ending);
    wakes := '{end}';
  end if;
  wakes := wakes || lockkeeper_data.left_over();
end $$;
