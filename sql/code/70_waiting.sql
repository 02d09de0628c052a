-- Why does it wait: the full keys of each waiting subject, computed when asked. Views answer, they never write.

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
      select count(distinct root) filter (where root > 0) = cardinality(lockkeeper_data.root_places(v_subject.version_id, v_subject.attributes)) as all_roots
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
returns table (key text, key_id bigint, amount int, in_use bigint, asked bigint, capacity bigint, limit_id int)
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
    select distinct on (k.limit_id, k.key) k.key, k.key_id, k.amount, k.in_use, k.asked, k.capacity, k.limit_id
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
select b.run_id, b.place, js.name, v.job, v.version, d.name, r.priority::bigint + coalesce(js.priority, 0),
       case when b.place = 0 then r.submitted_at else r.admitted_at end, '{}', b.ready_at
from lockkeeper_data.backoffs b
join lockkeeper_data.runs r on r.id = b.run_id
join lockkeeper_data.job_versions v on v.id = r.version_id
join lockkeeper_data.deployments d on d.id = r.deployment_id
left join lockkeeper_data.job_steps js on js.version_id = r.version_id and js.place = b.place;
comment on view lockkeeper.waiting is
  'Every queued run (place 0, no step) and every ready step, and why it waits: keys are the names of all keys that are full for it; workers: no live worker serves its job version, '
  'or, for a step, none has room. until: a run that is delayed, or a step that waits for its backoff. No keys and no until: it starts at the next tick. Reads each row anew: ask for one run_id, or for few.';

-- Since when a ready step asks: since what came before it ended, or its own last attempt and the backoff.
create function lockkeeper_data.ready_since(p_run_id bigint, p_place int) returns timestamptz
language plpgsql stable as $$
begin
  return (
    select greatest(r.admitted_at, max(o.ended_at + case when o.place = p_place and o.attempt = s.attempts and o.outcome in ('failed', 'timed_out')
      then lockkeeper_data.backoff_ms(js, s.attempts - s.losses - s.returns) else 0 end * interval '1 millisecond'))
    from lockkeeper_data.runs r
    join lockkeeper_data.job_steps js on js.version_id = r.version_id and js.place = p_place
    join lockkeeper_data.steps s on s.run_id = r.id and s.place = p_place
    left join lockkeeper_data.outcomes o on o.run_id = r.id and (o.place = p_place or o.place = any (js.after))
    where r.id = p_run_id
    group by r.admitted_at);
end $$;

-- Who asks for several slots or at several keys at once and has waited ten minutes at the key where its lane sleeps, while later ones got slots of it.
create view lockkeeper_data.passed_over as
with held as materialized (
  select s.key_id, max(b.since) as last, array_agg(b.since) as since, array_agg(r.admitted_at) as admitted_at, array_agg(r.priority) as run_priority,
         array_agg(r.priority::bigint + coalesce(js.priority, 0)) as priority, array_agg(s.run_id) as run_id, array_agg(coalesce(a.attempt - 1, 0)) as attempts, array_agg(s.place) as place
  from lockkeeper_data.slots s
  join lockkeeper_data.runs r on r.id = s.run_id
  left join lockkeeper_data.attempts a on a.run_id = s.run_id and a.place = s.place
  left join lockkeeper_data.job_steps js on js.version_id = r.version_id and js.place = s.place
  cross join lateral (select coalesce(a.started_at, r.admitted_at)) b(since)
  group by s.key_id
)
select w.run_id, w.place, w.lane_id, w.root, w.key_id, w.amount, w.first, w.since, p.passed_by, p.last_passed_at
from (
  -- In the order of waiting, so that who wants the first reads no more. The key of workers is one of the keys of a taker.
  select w.run_id, w.attempts, w.place, x.lane_id, x.root, x.key_id, x.amount, x.priority, not exists (select from lockkeeper_data.waiting y where y.lane_id = w.lane_id and (y.run_id, y.attempts, y.place) < (w.run_id, w.attempts, w.place)) as first,
         case when w.place = 0 then greatest(r.submitted_at, r.start_at) else lockkeeper_data.ready_since(w.run_id, w.place) end as since
  from lockkeeper_data.watches x
  join held h on h.key_id = x.key_id
  join lockkeeper_data.lanes l on l.id = x.lane_id
  join lockkeeper_data.counters c on c.key_id = x.key_id
  join lockkeeper_data.limits m on m.id = c.limit_id
  join lockkeeper_data.waiting w on w.lane_id = x.lane_id
  join lockkeeper_data.runs r on r.id = w.run_id
  where (x.amount > 1 or case when x.root = 0 then cardinality(l.keys) > 2 else cardinality(array_positions(l.look_roots, x.root)) > 1 end)
    and x.amount <= coalesce(m.override, c.capacity, m.capacity)
    -- Of several first steps that look at one key, the greediest.
    and not exists (select from lockkeeper_data.watches y where y.lane_id = x.lane_id and y.key_id = x.key_id and (y.amount, y.root) > (x.amount, x.root))
    and r.submitted_at < h.last and greatest(r.submitted_at, r.start_at) <= (select lockkeeper.now()) - interval '10 minutes'
  order by since
) w
join held h on h.key_id = w.key_id
cross join lateral (
  select count(*) as passed_by, max(u.since) as last_passed_at
  from unnest(h.since, h.admitted_at, h.run_priority, h.priority, h.run_id, h.attempts, h.place) u(since, admitted_at, run_priority, priority, run_id, attempts, place)
  where u.since > w.since and case
    when w.root = 0 then (-u.priority, u.run_id, u.attempts, u.place) > (-w.priority, w.run_id, w.attempts, w.place)
    -- What a run looks at is held by steps: those of runs that were admitted past it.
    else u.admitted_at > w.since and (-u.run_priority, u.run_id) > (-w.priority, w.run_id) end
) p
where w.since <= (select lockkeeper.now()) - interval '10 minutes' and p.passed_by > 0;

-- What `why` says of one that was passed over at a key; else nothing.
create function lockkeeper_data.passed_over_sentence(p_run_id bigint, p_place int, p_key_id bigint, p_key text) returns text
language plpgsql stable as $$
begin
  return coalesce((
    select format(' It %s; %s since it began to wait at %s, the last at %s: they fit where it does not. A higher priority keeps no room free. '
                  'Pause those (`lockkeeper pause --job …`) until it has started, or give them a limit that leaves it room.',
             case when p.amount > 1 then format('asks for %s slots of %s at once', p.amount, p_key)
                  else format('needs slots of %s at the same moment', (
                    select string_agg(k.name, ' and ' order by k.name)
                    from lockkeeper_data.lanes l
                    cross join lateral (select unnest(l.keys) where p.root = 0
                      union select u.key_id from unnest(l.look_roots, l.look_keys) u(root, key_id) where u.root = p.root) n(key_id)
                    join lockkeeper_data.keys k on k.id = n.key_id
                    join lockkeeper_data.limits m on m.id = k.limit_id and m.counts is not null
                    where l.id = p.lane_id)) end,
             case when p.passed_by = 1 then '1 later one that holds slots there started' else format('%s later ones that hold slots there started', p.passed_by) end,
             to_char(p.since at time zone 'UTC', 'YYYY-MM-DD HH24:MI:SS"Z"'), to_char(p.last_passed_at at time zone 'UTC', 'YYYY-MM-DD HH24:MI:SS"Z"'))
    from lockkeeper_data.passed_over p
    where p.run_id = p_run_id and p.place = p_place and p.key_id = p_key_id), '');
end $$;

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
           case when m.source like 'pause %' then format('%s: it was paused.', f.key)
                when f.capacity = 0 and m.override is not null then format('%s is paused.', f.key)
                when f.capacity = 0 then format('%s is paused: its limit is 0. It starts once the limit is raised.', f.key)
                when f.in_use + f.amount > f.capacity and f.amount > f.capacity
                  then format('%s has %s slots and this asks for %s at once. It starts only if the limit is raised.', f.key, f.capacity, f.amount)
                when f.in_use + f.amount > f.capacity
                  then format('%s is full: %s of %s slots are used. It starts when %s of its holders end%s.', f.key, f.in_use, f.capacity,
                              case when f.in_use + f.amount - f.capacity = 1 then 'one' else 'enough' end,
                              case when f.in_use + f.amount - f.capacity = 1 then 's' else '' end)
                else format('%s has no room to look forward to: %s of %s slots are used and ready steps ask for %s more. It starts when some of these are through.',
                            f.key, f.in_use, f.capacity, f.asked) end
             || case when m.override is null then ''
                     else format(' %s set %s: %s. It ends %s.', m.override_by, m.override, m.override_why,
                                 coalesce('at ' || to_char(m.override_until at time zone 'UTC', 'YYYY-MM-DD HH24:MI:SS"Z"'),
                                          case when m.source like 'pause %' then 'when it is resumed' else 'when it is unset' end)) end
             || lockkeeper_data.passed_over_sentence(s.run_id, s.place, f.key_id, f.key) as sentence
    from subject s cross join lateral lockkeeper_data.full_keys(s.run_id, s.place) f
    join lockkeeper_data.limits m on m.id = f.limit_id where s.until is null
    union all
    select s.place, s.step, 'workers', null, null, null, null,
           case when x.workers = 0 then format('No live worker accepts version %s of job %s%s. It starts when one does.', s.version, to_json(s.job),
             coalesce((select format(' (live workers accept %s)', string_agg(distinct o.version, ', '))
                       from lockkeeper_data.job_versions o cross join lateral lockkeeper_data.workers_of(o.id) y
                       where o.job = s.job and y.workers > 0), ''))
                else format('All %s workers that serve job %s are busy. It starts when one has room.', x.workers, to_json(s.job)) end
    from subject s cross join lateral lockkeeper_data.workers_of(s.version_id) x where 'workers' = any (s.keys)
    union all
    select s.place, s.step, null, null, null, null, null, case when s.place = 0 then format('It is delayed until %s, as it was submitted.', s.until)
                                                                    else format('Its next attempt begins at %s, after its backoff.', s.until) end from subject s where s.until is not null
    union all
    select s.place, s.step, null, null, null, null, null, 'Nothing holds it up: it starts at the next tick.' from subject s where s.keys = '{}' and s.until is null
  )
  select place, step, case place when 0 then 'queued' else 'ready' end, key, in_use, capacity, amount, coalesce(holders, '[]'), sentence
  from reason order by place, key
$$;
comment on function lockkeeper.why(bigint, text) is
  'Why a run, or a step of it, is not starting: a row for each full key with its use, the holders (at most 20, longest first) and since when, and a sentence that says what would free it. '
  'No row: nothing of it waits.';
