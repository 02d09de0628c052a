-- What people see. Views answer, they never write.

-- ---------------------------------------------------------------- why does it wait

-- What a waiting subject takes (root 0) and looks at, as it is now.
-- From its lane where that is of the current stamp; else matched anew, as before its first lane or after a change of limits.
create function lockkeeper_data.keys_now(p_run_id bigint, p_place int)
returns table (root int, limit_id int, key text, key_id bigint, amount int, in_use bigint, asked bigint, capacity bigint, buffer int)
language plpgsql stable as $$
#variable_conflict use_column
declare
  v_counts lockkeeper_data.subject_kind := case when p_place = 0 then 'run' else 'step' end;
  v_lane lockkeeper_data.lanes;
  v_subject lockkeeper_data.subject;
  v_stale boolean := exists (select from lockkeeper_data.lanes l, lockkeeper_data.configuration c where l.counts = 'step' and l.stamp < c.stamp);
begin
  select l.* into v_lane from lockkeeper_data.waiting w join lockkeeper_data.lanes l on l.id = w.lane_id
  join lockkeeper_data.configuration c on c.stamp = l.stamp where w.run_id = p_run_id and w.place = p_place;
  if found and not v_stale then
    return query
      select k.root, c.limit_id, t.name, k.key_id, k.amount, c.in_use, c.asked, coalesce(m.override, c.capacity, m.capacity)::bigint, m.look_buffer
      from (select 0 as root, * from unnest(v_lane.keys, v_lane.amounts)
            union all select * from unnest(v_lane.look_roots, v_lane.look_keys, v_lane.look_amounts)) k(root, key_id, amount)
      join lockkeeper_data.keys t on t.id = k.key_id
      join lockkeeper_data.counters c on c.key_id = k.key_id
      join lockkeeper_data.limits m on m.id = c.limit_id and m.counts is not null;
    return;
  end if;
  select * into v_subject from lockkeeper_data.run_subjects(array[p_run_id]) where p_place = 0
  union all select * from lockkeeper_data.step_subjects(array[p_run_id], array[p_place]) where p_place > 0;
  return query
    with spec as materialized (
      select s.* from lockkeeper_data.shape_specs(v_counts, array[v_subject]) s
    ), looks as (
      select count(distinct root) filter (where root > 0) = (select count(*) from lockkeeper_data.job_steps js where js.version_id = v_subject.version_id and js.after = '{}') as all_roots
      from spec
    ), asks as materialized (
      -- What ready steps ask is matched anew too while their lanes are of an old stamp.
      select t.limit_id, t.key_values, sum(t.amount) as asked
      from lockkeeper_data.shape_specs('step', case when v_stale and exists (select from spec where root > 0) then array(
        select s::lockkeeper_data.subject
        from (select array_agg(w.run_id) as run_ids, array_agg(w.place) as places from lockkeeper_data.waiting w where w.place > 0) w
        cross join lateral lockkeeper_data.step_subjects(w.run_ids, w.places) s) else '{}' end) t
      group by t.limit_id, t.key_values
    )
    select s.root, s.limit_id, lockkeeper_data.written_name(m.name, s.key_values), k.id, s.amount, coalesce(c.in_use, 0),
           case when s.root = 0 then 0 when v_stale then coalesce(a.asked, 0) else coalesce(c.asked, 0) end::bigint,
           coalesce(m.override, s.capacity, m.capacity)::bigint, m.look_buffer
    from spec s cross join looks
    join lockkeeper_data.limits m on m.id = s.limit_id
    left join lockkeeper_data.keys k on k.limit_id = s.limit_id and k.identity = lockkeeper_data.values_identity(s.key_values)
    left join lockkeeper_data.counters c on c.key_id = k.id
    left join asks a on a.limit_id = s.limit_id and a.key_values = s.key_values
    where s.root = 0 or looks.all_roots;
end $$;

-- The keys that are full for a waiting subject, with what they hold and may hold.
create function lockkeeper_data.full_keys(p_run_id bigint, p_place int)
returns table (key text, key_id bigint, amount int, in_use bigint, asked bigint, capacity bigint)
language plpgsql stable as $$
#variable_conflict use_column
begin
  return query
    with k as materialized (select * from lockkeeper_data.keys_now(p_run_id, p_place)),
    -- Looking ahead is passed if one root step has room in all that it looks at.
    blocked as (
      select coalesce(bool_and(r.full), false) as yes from (
        select bool_or(k.in_use + k.asked + k.amount > k.capacity + k.buffer) as full from k where k.root > 0 group by k.root) r
    )
    select distinct on (k.limit_id, k.key) k.key, k.key_id, k.amount, k.in_use, k.asked, k.capacity
    from k cross join blocked
    where case when k.root = 0 then k.in_use + k.amount > k.capacity
               else blocked.yes and k.in_use + k.asked + k.amount > k.capacity + k.buffer end
    order by k.limit_id, k.key, k.root;
end $$;

-- Live leases that serve a job version, and the room that they have left.
create function lockkeeper_data.workers_of(p_version_id int) returns table (workers bigint, room bigint)
language plpgsql volatile as $$
#variable_conflict use_column
begin
  return query
    select count(*), coalesce(sum(greatest(0, l.room - (select count(*) from lockkeeper_data.attempts a where a.lease_id = l.id))), 0)::bigint
    from lockkeeper_data.lease_jobs j join lockkeeper_data.leases l on l.id = j.lease_id
    where j.version_id = p_version_id and not l.ended and l.expires_at > lockkeeper.now();
end $$;

create view lockkeeper.waiting as
select w.run_id, w.place, js.name as step, v.job, v.version, d.name as deployment, r.priority::bigint + coalesce(js.priority, 0) as priority,
       case when w.place = 0 then r.submitted_at else r.admitted_at end as since,
       f.keys || case when w.place = 0 and x.workers = 0 then '{workers}'::text[]
                      when w.place > 0 and f.keys = '{}' and x.room = 0 then '{workers}' else '{}' end as keys,
       null::timestamptz as until
from lockkeeper_data.waiting w
join lockkeeper_data.runs r on r.id = w.run_id
join lockkeeper_data.job_versions v on v.id = r.version_id
join lockkeeper_data.deployments d on d.id = r.deployment_id
left join lockkeeper_data.job_steps js on js.version_id = r.version_id and js.place = w.place
cross join lateral lockkeeper_data.workers_of(r.version_id) x
cross join lateral (select array(select key from lockkeeper_data.full_keys(w.run_id, w.place))) f(keys)
union all
select b.run_id, b.place, js.name, v.job, v.version, d.name, r.priority::bigint + js.priority, r.admitted_at, '{}', b.ready_at
from lockkeeper_data.backoffs b
join lockkeeper_data.runs r on r.id = b.run_id
join lockkeeper_data.job_versions v on v.id = r.version_id
join lockkeeper_data.deployments d on d.id = r.deployment_id
join lockkeeper_data.job_steps js on js.version_id = r.version_id and js.place = b.place;
comment on view lockkeeper.waiting is
  'Every queued run (place 0, no step) and every ready step, and why it waits: keys are the names of all keys that are full for it; workers: no live worker serves its job version, '
  'or, for a step, none has room. until: a step that waits for its backoff. No keys and no until: it starts at the next tick. Reads each row anew: ask for one run_id, or for few.';

create function lockkeeper.why(run_id bigint, step text default null)
returns table (place int, step_name text, state text, key text, in_use bigint, capacity bigint, amount int, holders jsonb, sentence text)
language sql volatile set search_path = pg_catalog, pg_temp set jit = off as $$
  with subject as (
    select w.run_id, w.place, w.step, w.job, w.version, w.keys, w.until, r.version_id
    from lockkeeper.waiting w join lockkeeper_data.runs r on r.id = w.run_id
    where w.run_id = why.run_id and (why.step is null or w.step = why.step)
  ), reason as (
    select s.place, s.step, f.key, f.in_use, f.capacity, f.amount,
           (select jsonb_agg(h.holder order by h.since, h.run_id, h.place) from (
              select jsonb_strip_nulls(jsonb_build_object('run_id', h.run_id::text, 'step', js.name, 'job', v.job, 'amount', h.amount,
                       'since', coalesce(a.started_at, hr.admitted_at), 'worker', l.worker)) as holder, coalesce(a.started_at, hr.admitted_at) as since, h.run_id, h.place
              from lockkeeper_data.slots h
              join lockkeeper_data.runs hr on hr.id = h.run_id
              join lockkeeper_data.job_versions v on v.id = hr.version_id
              left join lockkeeper_data.job_steps js on js.version_id = hr.version_id and js.place = h.place
              left join lockkeeper_data.attempts a on a.run_id = h.run_id and a.place = h.place
              left join lockkeeper_data.leases l on l.id = a.lease_id
              where h.key_id = f.key_id
              order by since, h.run_id, h.place limit 20) h) as holders,
           case when f.capacity = 0 then format('%s is paused: its limit is 0. It starts once the limit is raised.', f.key)
                when f.in_use + f.amount > f.capacity and f.amount > f.capacity
                  then format('%s has %s slots and this asks for %s at once. It starts only if the limit is raised.', f.key, f.capacity, f.amount)
                when f.in_use + f.amount > f.capacity
                  then format('%s is full: %s of %s slots are used. It starts when %s of its holders end%s.', f.key, f.in_use, f.capacity,
                              case when f.in_use + f.amount - f.capacity = 1 then 'one' else 'enough' end,
                              case when f.in_use + f.amount - f.capacity = 1 then 's' else '' end)
                else format('%s has no room to look forward to: %s of %s slots are used and ready steps ask for %s more. It starts when some of these are through.',
                            f.key, f.in_use, f.capacity, f.asked) end as sentence
    from subject s cross join lateral lockkeeper_data.full_keys(s.run_id, s.place) f
    union all
    select s.place, s.step, 'workers', null, null, null, null,
           case when x.workers = 0 then format('No live worker serves job %s in version %s. It starts when one registers it.', to_json(s.job), s.version)
                else format('All %s workers that serve job %s are busy. It starts when one has room.', x.workers, to_json(s.job)) end
    from subject s cross join lateral lockkeeper_data.workers_of(s.version_id) x where 'workers' = any (s.keys)
    union all
    select s.place, s.step, null, null, null, null, null, format('Its next attempt begins at %s, after its backoff.', s.until) from subject s where s.until is not null
    union all
    select s.place, s.step, null, null, null, null, null, 'Nothing holds it up: it starts at the next tick.' from subject s where s.keys = '{}' and s.until is null
  )
  select place, step, case place when 0 then 'queued' else 'ready' end, key, in_use, capacity, amount, coalesce(holders, '[]'), sentence
  from reason order by place, key
$$;
comment on function lockkeeper.why(bigint, text) is
  'Why a run, or a step of it, is not starting: a row for each full key with its use, the holders (at most 20, longest first) and since when, and a sentence that says what would free it. '
  'No row: nothing of it waits.';

-- ---------------------------------------------------------------- runs, steps

create view lockkeeper.runs as
select r.id as run_id, v.job, v.version, d.name as deployment, d.kind as deployment_kind,
       (select s.state from lockkeeper_data.run_state_of(r.id) s) as state, r.priority, r.tags, r.key, r.max_concurrent,
       r.canceling, r.submitted_at, r.admitted_at, r.ended_at, r.admission, r.steps_left, v.step_count as steps
from lockkeeper_data.runs r
join lockkeeper_data.job_versions v on v.id = r.version_id
join lockkeeper_data.deployments d on d.id = r.deployment_id;
comment on view lockkeeper.runs is
  'Runs: state is queued, admitted (has its slots, no step has started), running, succeeded, failed or canceled. admission: its number in the order of admission. '
  'canceling: it was canceled and waits for its running steps.';

create view lockkeeper.steps as
select s.run_id, s.place, js.name as step, v.job, d.name as deployment, s.state::text as state, r.priority::bigint + js.priority as priority, js.pools, js.tags,
       s.attempts, s.losses, coalesce(a.started_at, o.started_at) as started_at, case when a.run_id is null then o.ended_at end as ended_at,
       coalesce(l.worker, o.worker) as worker, a.times_out_at, o.outcome::text as last_outcome, o.output, o.error
from lockkeeper_data.steps s
join lockkeeper_data.runs r on r.id = s.run_id
join lockkeeper_data.job_versions v on v.id = r.version_id
join lockkeeper_data.deployments d on d.id = r.deployment_id
join lockkeeper_data.job_steps js on js.version_id = r.version_id and js.place = s.place
left join lockkeeper_data.attempts a on a.run_id = s.run_id and a.place = s.place
left join lockkeeper_data.leases l on l.id = a.lease_id
left join lateral (select * from lockkeeper_data.outcomes x where x.run_id = s.run_id and x.place = s.place order by x.attempt desc limit 1) o on true;
comment on view lockkeeper.steps is
  'Steps of runs, numbered by place in the job: state is pending, ready, running, succeeded, failed, skipped or canceled. attempts counts the starts, losses those that ended with their worker. '
  'worker, output and error are those of the last attempt; outcome is how that ended.';

create view lockkeeper.attempts as
select o.run_id, o.place, o.attempt, o.outcome::text as outcome, o.worker, o.started_at, o.ended_at, o.output, o.error from lockkeeper_data.outcomes o
union all
select a.run_id, a.place, a.attempt, null, l.worker, a.started_at, null, null, null
from lockkeeper_data.attempts a left join lockkeeper_data.leases l on l.id = a.lease_id;
comment on view lockkeeper.attempts is
  'Attempts of steps, ended (outcome: succeeded, failed, canceled, timed_out, lost, returned or force_canceled) and running (no outcome).';

create view lockkeeper.jobs as
select j.name as job, v.version, v.step_count as steps, v.pools, v.definition, v.created_at as registered_at
from lockkeeper_data.jobs j join lockkeeper_data.job_versions v on v.id = j.version_id;
comment on view lockkeeper.jobs is 'Jobs in the version that new runs get. pools: of each pool, the slots that the greediest step asks.';

create view lockkeeper.deployments as
select d.name as deployment, d.kind, d.created_at from lockkeeper_data.deployments d;
comment on view lockkeeper.deployments is 'Where runs are submitted: kind is full or branch.';

-- ---------------------------------------------------------------- limits, keys, slots

create view lockkeeper.limits as
select l.name, l.counts::text as counts,
       l.equals || coalesce((select jsonb_object_agg(h, true) from unnest(l.has) h where h <> all (l.per)), '{}') as match,
       l.per, coalesce(l.override, l.capacity) as capacity, l.capacity_attribute, l.override, l.source, l.replaces, l.part_of, l.look_buffer, l.created_at
from lockkeeper_data.limits l where l.counts is not null;
comment on view lockkeeper.limits is
  'Limits: of the live runs or steps (counts) that match, grouped by per, never more than capacity slots. capacity null is unlimited, 0 is paused; with an override it is the override. '
  'look_buffer: admission looks ahead at its keys, with so much buffer.';

create view lockkeeper.keys as
select k.name as key, l.name as "limit", l.counts::text as counts, k."values", c.in_use, c.asked, coalesce(l.override, c.capacity, l.capacity) as capacity
from lockkeeper_data.keys k
join lockkeeper_data.counters c on c.key_id = k.id
join lockkeeper_data.limits l on l.id = k.limit_id and l.counts is not null;
comment on view lockkeeper.keys is
  'Keys in use: a limit and the values of what it is grouped by. in_use: slots that are held now; asked: slots that ready steps ask for, where admission looks ahead.';

create view lockkeeper.slots as
select k.name as key, l.name as "limit", s.run_id, s.place, js.name as step, v.job, s.amount, coalesce(a.started_at, r.admitted_at) as since, w.worker
from lockkeeper_data.slots s
join lockkeeper_data.keys k on k.id = s.key_id
join lockkeeper_data.limits l on l.id = k.limit_id
join lockkeeper_data.runs r on r.id = s.run_id
join lockkeeper_data.job_versions v on v.id = r.version_id
left join lockkeeper_data.job_steps js on js.version_id = r.version_id and js.place = s.place
left join lockkeeper_data.attempts a on a.run_id = s.run_id and a.place = s.place
left join lockkeeper_data.leases w on w.id = a.lease_id;
comment on view lockkeeper.slots is 'Slots that are held: by a run (no step) from its admission to its end, by a step while it runs.';

create view lockkeeper.workers as
select l.worker, l.room, (select count(*) from lockkeeper_data.attempts a where a.lease_id = l.id) as running, l.opened_at, l.expires_at,
       not l.ended and l.expires_at > lockkeeper.now() as live,
       array(select v.job from lockkeeper_data.lease_jobs j join lockkeeper_data.job_versions v on v.id = j.version_id where j.lease_id = l.id order by v.job) as jobs
from lockkeeper_data.leases l;
comment on view lockkeeper.workers is 'Workers: room for steps at once, how many they run, until when their lease lasts, and the jobs that they serve. A lease''s id is a secret and is not shown.';

-- ---------------------------------------------------------------- what must never be

create view lockkeeper.violations as
with live as materialized (
  select s.run_id, s.place, k.id as key_id, p.amount
  from (select (row_number() over ())::int as no, x.* from (
          select t.* from lockkeeper_data.run_subjects(array(select id from lockkeeper_data.runs where state = 'admitted')) t
        ) x) s
  cross join lateral lockkeeper_data.run_shape_specs((s.run_id, s.place, s.attempts, s.version_id, s.priority, s.deployment_id, s.max_concurrent, s.attributes, s.pools)::lockkeeper_data.subject, s.no) p
  left join lockkeeper_data.keys k on k.limit_id = p.limit_id and k.identity = lockkeeper_data.values_identity(p.key_values)
  where p.root = 0
  union all
  select a.run_id, a.place, k.id, p.amount
  from lockkeeper_data.attempts a
  cross join lateral lockkeeper_data.step_subjects(array[a.run_id], array[a.place]) s
  cross join lateral lockkeeper_data.step_shape_specs(s::lockkeeper_data.subject, 1) p
  left join lockkeeper_data.keys k on k.limit_id = p.limit_id and k.identity = lockkeeper_data.values_identity(p.key_values)
), stamp as (
  select stamp as now from lockkeeper_data.configuration
)
select 'counter is not its slots' as violation, format('%s: in_use %s, slots %s', k.name, c.in_use, coalesce(s.amount, 0)) as detail
from lockkeeper_data.counters c join lockkeeper_data.keys k on k.id = c.key_id
left join (select key_id, sum(amount) as amount from lockkeeper_data.slots group by key_id) s on s.key_id = c.key_id
where c.in_use <> coalesce(s.amount, 0)
union all
select 'slot without counter', format('run %s place %s key %s', s.run_id, s.place, s.key_id)
from lockkeeper_data.slots s where not exists (select from lockkeeper_data.counters c where c.key_id = s.key_id)
union all
select 'slots are not what live subjects take', format('run %s place %s key %s: takes %s, has %s', coalesce(l.run_id, s.run_id), coalesce(l.place, s.place),
         coalesce(l.key_id, s.key_id), l.amount, s.amount)
from live l full join lockkeeper_data.slots s on s.run_id = l.run_id and s.place = l.place and s.key_id = l.key_id
where l.amount is distinct from s.amount
union all
select 'asked is not what ready steps ask', format('%s: asked %s, ready steps ask %s', k.name, c.asked, coalesce(w.asked, 0))
from lockkeeper_data.counters c join lockkeeper_data.keys k on k.id = c.key_id
left join (select a.key_id, sum(-a.amount) as asked from lockkeeper_data.waiting w join lockkeeper_data.lanes l on l.id = w.lane_id and l.counts = 'step'
           cross join lateral unnest(l.ask_keys, l.ask_amounts) a(key_id, amount) group by a.key_id) w on w.key_id = c.key_id
where c.asked <> coalesce(w.asked, 0)
union all
select 'run should have ended', format('run %s: steps_left %s, steps not ended %s', r.id, r.steps_left, n.left)
from lockkeeper_data.runs r
cross join lateral (select count(*) filter (where s.state in ('pending', 'ready', 'running')) as left from lockkeeper_data.steps s where s.run_id = r.id) n
where r.state in ('queued', 'admitted') and (r.steps_left <> n.left or n.left = 0)
union all
select 'ended run has a step that has not ended', format('run %s place %s is %s', s.run_id, s.place, s.state)
from lockkeeper_data.steps s join lockkeeper_data.runs r on r.id = s.run_id
where s.state in ('pending', 'ready', 'running') and r.state not in ('queued', 'admitted')
union all
select 'queued run does not wait', format('run %s', r.id)
from lockkeeper_data.runs r where r.state = 'queued' and not exists (select from lockkeeper_data.waiting w where w.run_id = r.id and w.place = 0)
union all
select 'ready step does not wait', format('run %s place %s', s.run_id, s.place)
from lockkeeper_data.steps s where s.state = 'ready'
  and not exists (select from lockkeeper_data.waiting w where w.run_id = s.run_id and w.place = s.place)
  and not exists (select from lockkeeper_data.backoffs b where b.run_id = s.run_id and b.place = s.place)
union all
select 'waits and should not', format('run %s place %s', w.run_id, w.place)
from lockkeeper_data.waiting w
left join lockkeeper_data.runs r on r.id = w.run_id
left join lockkeeper_data.steps s on s.run_id = w.run_id and s.place = w.place
where case when w.place = 0 then r.state is distinct from 'queued' else s.state is distinct from 'ready' end
union all
select 'waits in no lane', format('run %s place %s lane %s', w.run_id, w.place, w.lane_id)
from lockkeeper_data.waiting w where w.lane_id <> 0 and not exists (select from lockkeeper_data.lanes l where l.id = w.lane_id)
union all
select 'running step without attempt, or attempt without running step', format('run %s place %s', coalesce(s.run_id, a.run_id), coalesce(s.place, a.place))
from (select * from lockkeeper_data.steps where state = 'running') s
full join lockkeeper_data.attempts a on a.run_id = s.run_id and a.place = s.place and a.attempt = s.attempts
where s.run_id is null or a.run_id is null
union all
select 'lane is neither open nor asleep', format('lane %s', l.id)
from lockkeeper_data.lanes l, stamp where l.stamp = stamp.now
  and not exists (select from lockkeeper_data.open_lanes o where o.lane_id = l.id)
  and not exists (select from lockkeeper_data.watches w where w.lane_id = l.id)
union all
select 'lane sleeps beside room', format('lane %s root %s at %s', w.lane_id, w.root, k.name)
from lockkeeper_data.watches w
join lockkeeper_data.lanes l on l.id = w.lane_id
join stamp on stamp.now = l.stamp
join lockkeeper_data.keys k on k.id = w.key_id
cross join lateral lockkeeper_data.rooms(array[w.key_id]) r
where (r.room is null or case when w.root = 0 then w.amount <= r.room else w.amount <= r.look end)
  and not exists (select from lockkeeper_data.open_lanes o where o.lane_id = w.lane_id)
  -- An open lane with that key carries its baton: who grants from it wakes the next.
  and not exists (select from lockkeeper_data.open_lanes o join lockkeeper_data.lanes x on x.id = o.lane_id
                  where o.counts = w.counts and x.stamp = stamp.now and w.key_id = any (x.keys || x.look_keys || x.ask_keys));
comment on view lockkeeper.violations is
  'What must never be: empty in a sound database. Proves that counters are the slots, slots are what the live subjects take, nobody who ended holds any, and no lane sleeps beside room.';

-- ---------------------------------------------------------------- what a tick has to do

create function lockkeeper.todo(out lane boolean, out admit boolean, out sleep boolean, out reap boolean, out sweep boolean, out tickets boolean)
language plpgsql volatile
set search_path = pg_catalog, pg_temp set plan_cache_mode = force_generic_plan set jit = off set enable_seqscan = off set enable_hashjoin = off set enable_mergejoin = off as $$
declare v_now timestamptz := lockkeeper.now();
begin
  lane := exists (select from lockkeeper_data.waiting w where w.lane_id = 0) or lockkeeper_data.stale('step') or lockkeeper_data.stale('run');
  admit := exists (select from lockkeeper_data.open_lanes o where o.counts = 'run');
  sleep := lockkeeper_data.unserved_versions() <> '{}';
  reap := exists (select lockkeeper_data.expired_leases());
  sweep := exists (select from lockkeeper_data.attempts a where a.times_out_at < v_now)
    or exists (select from lockkeeper_data.leases l where l.ended)
    or exists (select from lockkeeper_data.attempts a where a.unnamed >= 2)
    or exists (select from lockkeeper_data.backoffs b where b.ready_at <= v_now);
  tickets := exists (select from lockkeeper_data.ticket_changes t);
end $$;
comment on function lockkeeper.todo() is 'What a coordinator''s tick would find to do. Index probes only; writes nothing.';
