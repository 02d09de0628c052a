-- What must never be.

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
  and not exists (select from lockkeeper_data.backoffs b where b.run_id = r.id and b.place = 0)
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
select 'waits in a lane that is not its own', format('run %s place %s lane %s', w.run_id, w.place, w.lane_id)
from lockkeeper_data.waiting w join lockkeeper_data.lanes l on l.id = w.lane_id join lockkeeper_data.runs r on r.id = w.run_id
left join lockkeeper_data.job_steps js on js.version_id = r.version_id and js.place = w.place
where l.version_id <> r.version_id or l.priority <> r.priority::bigint + coalesce(js.priority, 0) or l.counts <> case when w.place = 0 then 'run' else 'step' end::lockkeeper_data.subject_kind
union all
select 'waits twice', format('run %s place %s', b.run_id, b.place) from lockkeeper_data.backoffs b join lockkeeper_data.waiting w on w.run_id = b.run_id and w.place = b.place
union all
select 'deadline of a run that is not live', format('run %s %s', d.run_id, d.deadline) from lockkeeper_data.deadlines d
left join lockkeeper_data.runs r on r.id = d.run_id and r.state in ('queued', 'admitted') where r.id is null
union all
select 'run with a timeout has no deadline', format('run %s', r.id) from lockkeeper_data.runs r
where r.state = 'admitted' and r.timeout_ms is not null and not exists (select from lockkeeper_data.deadlines d where d.run_id = r.id and d.deadline = 'timeout')
union all
select 'key of workers is not as the leases are', format('job version %s', v.id) from lockkeeper_data.job_versions v join lockkeeper_data.counters c on c.key_id = v.workers_key
where (c.capacity >= 0) <> exists (select from lockkeeper_data.lease_jobs j join lockkeeper_data.leases l on l.id = j.lease_id where j.version_id = v.id and not l.ended)
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
