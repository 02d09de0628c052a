-- What must never be. Each look is one statement, and so exact as of one moment, whatever goes on.

-- Pending steps of the admitted runs of a range: how many of the steps before them have not succeeded, and whether one of those never will.
create function lockkeeper_data.needs_of_runs(p_after bigint, p_upto bigint) returns table (run_id bigint, place int, needs int, unmet int, doomed boolean)
language sql stable
begin atomic
select s.run_id, s.place, s.needs, count(b.place)::int, coalesce(bool_or(b.state in ('failed', 'skipped', 'canceled')), false)
from lockkeeper_data.runs r
join lockkeeper_data.steps s on s.run_id = r.id and s.state = 'pending'
join lockkeeper_data.job_steps js on js.version_id = r.version_id and js.place = s.place
left join lockkeeper_data.steps b on b.run_id = s.run_id and b.place = any (js.after) and b.state <> 'succeeded'
where r.state = 'admitted' and r.id > p_after and r.id <= p_upto
group by s.run_id, s.place, s.needs;
end;

-- What must never be with the runs of a range of ids, their steps and all that hangs off them.
create function lockkeeper_data.violations_of_runs(p_after bigint, p_upto bigint)
returns table (violation text, detail text, run_id bigint, place int, key_id bigint, lane_id bigint)
language sql stable
begin atomic
with live as materialized (
  select s.run_id, s.place, k.id as key_id, p.amount
  from (select (row_number() over ())::int as no, x.* from (
          select t.* from lockkeeper_data.run_subjects(array(
            select r.id from lockkeeper_data.runs r where r.state = 'admitted' and r.id > p_after and r.id <= p_upto)) t
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
  where a.run_id > p_after and a.run_id <= p_upto
), slots as (
  select * from lockkeeper_data.slots s where s.run_id > p_after and s.run_id <= p_upto
), runs as (
  select r.id, r.state, r.steps_left, r.timeout_ms from lockkeeper_data.runs r where r.id > p_after and r.id <= p_upto
), steps as (
  select * from lockkeeper_data.steps s where s.run_id > p_after and s.run_id <= p_upto
), attempts as (
  select * from lockkeeper_data.attempts a where a.run_id > p_after and a.run_id <= p_upto
), waiting as (
  select * from lockkeeper_data.waiting w where w.run_id > p_after and w.run_id <= p_upto
), backoffs as (
  select * from lockkeeper_data.backoffs b where b.run_id > p_after and b.run_id <= p_upto
)
select 'slots are not what live subjects take' as violation,
       format('run %s place %s key %s: takes %s, has %s', coalesce(l.run_id, s.run_id), coalesce(l.place, s.place), coalesce(l.key_id, s.key_id), l.amount, s.amount) as detail,
       coalesce(l.run_id, s.run_id) as run_id, coalesce(l.place, s.place) as place, coalesce(l.key_id, s.key_id) as key_id, null::bigint as lane_id
from live l full join slots s on s.run_id = l.run_id and s.place = l.place and s.key_id = l.key_id
where l.amount is distinct from s.amount
union all
select 'run should have ended', format('run %s: steps_left %s, steps not ended %s', r.id, r.steps_left, n.left), r.id, 0, null, null
from runs r
cross join lateral (select count(*) filter (where s.state in ('pending', 'ready', 'running')) as left from lockkeeper_data.steps s where s.run_id = r.id) n
where r.state in ('queued', 'admitted') and (r.steps_left <> n.left or n.left = 0)
union all
select 'ended run has a step that has not ended', format('run %s place %s is %s', s.run_id, s.place, s.state), s.run_id, s.place, null, null
from steps s join lockkeeper_data.runs r on r.id = s.run_id
where s.state in ('pending', 'ready', 'running') and r.state not in ('queued', 'admitted')
union all
select 'queued run does not wait', format('run %s', r.id), r.id, 0, null, null
from runs r where r.state = 'queued' and not exists (select from lockkeeper_data.waiting w where w.run_id = r.id and w.place = 0)
  and not exists (select from lockkeeper_data.backoffs b where b.run_id = r.id and b.place = 0)
union all
select 'ready step does not wait', format('run %s place %s', s.run_id, s.place), s.run_id, s.place, null, null
from steps s where s.state = 'ready'
  and not exists (select from lockkeeper_data.waiting w where w.run_id = s.run_id and w.place = s.place)
  and not exists (select from lockkeeper_data.backoffs b where b.run_id = s.run_id and b.place = s.place)
union all
select 'pending step waits for other steps than it should', format('run %s place %s: needs %s, of the steps before it %s have not succeeded%s', n.run_id, n.place, n.needs, n.unmet,
         case when n.doomed then ' and some never will' else '' end), n.run_id, n.place, null, null
from lockkeeper_data.needs_of_runs(p_after, p_upto) n where n.needs <> n.unmet or n.unmet = 0 or n.doomed
union all
select 'waits and should not', format('run %s place %s', w.run_id, w.place), w.run_id, w.place, null, null
from (select w.run_id, w.place from waiting w union select b.run_id, b.place from backoffs b) w
left join lockkeeper_data.runs r on r.id = w.run_id
left join lockkeeper_data.steps s on s.run_id = w.run_id and s.place = w.place
where case when w.place = 0 then r.state is distinct from 'queued' else s.state is distinct from 'ready' end
union all
select 'waits in no lane', format('run %s place %s lane %s', w.run_id, w.place, w.lane_id), w.run_id, w.place, null, w.lane_id
from waiting w where w.lane_id <> 0 and not exists (select from lockkeeper_data.lanes l where l.id = w.lane_id)
union all
select 'waits in a lane that is not its own', format('run %s place %s lane %s', w.run_id, w.place, w.lane_id), w.run_id, w.place, null, w.lane_id
from waiting w join lockkeeper_data.lanes l on l.id = w.lane_id join lockkeeper_data.runs r on r.id = w.run_id
left join lockkeeper_data.job_steps js on js.version_id = r.version_id and js.place = w.place
where l.version_id <> r.version_id or l.priority <> r.priority::bigint + coalesce(js.priority, 0) or l.counts <> case when w.place = 0 then 'run' else 'step' end::lockkeeper_data.subject_kind
union all
select 'waits twice', format('run %s place %s', b.run_id, b.place), b.run_id, b.place, null, null
from backoffs b join lockkeeper_data.waiting w on w.run_id = b.run_id and w.place = b.place
union all
select 'running step without attempt, or attempt without running step', format('run %s place %s', coalesce(s.run_id, a.run_id), coalesce(s.place, a.place)),
       coalesce(s.run_id, a.run_id), coalesce(s.place, a.place), null, null
from (select * from steps x where x.state = 'running') s
full join attempts a on a.run_id = s.run_id and a.place = s.place and a.attempt = s.attempts
where s.run_id is null or a.run_id is null
union all
select 'deadline of a run that is not live', format('run %s %s', d.run_id, d.deadline), d.run_id, 0, null, null
from lockkeeper_data.deadlines d left join lockkeeper_data.runs r on r.id = d.run_id and r.state in ('queued', 'admitted')
where r.id is null and d.run_id > p_after and d.run_id <= p_upto
union all
select 'run with a timeout has no deadline', format('run %s', r.id), r.id, 0, null, null
from runs r
where r.state = 'admitted' and r.timeout_ms is not null and not exists (select from lockkeeper_data.deadlines d where d.run_id = r.id and d.deadline = 'timeout');
end;

-- What the ready steps ask of keys, counted from their lanes.
create view lockkeeper_data.asks as
select a.key_id, sum(-a.amount * n.waiting)::bigint as asked
from lockkeeper_data.lanes l
cross join lateral (select count(*) as waiting from lockkeeper_data.waiting x where x.lane_id = l.id) n
cross join lateral unnest(l.ask_keys, l.ask_amounts) a(key_id, amount)
where l.counts = 'step' and l.ask_keys <> '{}'
group by a.key_id;

-- What must never be with keys, their counters and slots. Of what waits it reads only the ready steps.
create function lockkeeper_data.violations_of_keys()
returns table (violation text, detail text, run_id bigint, place int, key_id bigint, lane_id bigint)
language sql stable
begin atomic
with wrong as materialized (
  select c.key_id, c.in_use, c.asked, coalesce(s.amount, 0) as slots, coalesce(w.asked, 0) as asks
  from lockkeeper_data.counters c
  left join (select x.key_id, sum(x.amount) as amount from lockkeeper_data.slots x group by x.key_id) s on s.key_id = c.key_id
  left join lockkeeper_data.asks w on w.key_id = c.key_id
  where c.in_use <> coalesce(s.amount, 0) or c.asked <> coalesce(w.asked, 0)
)
select 'counter is not its slots' as violation, format('%s: in_use %s, slots %s', k.name, c.in_use, c.slots) as detail,
       null::bigint as run_id, null::int as place, c.key_id as key_id, null::bigint as lane_id
from wrong c join lockkeeper_data.keys k on k.id = c.key_id where c.in_use <> c.slots
union all
select 'asked is not what ready steps ask', format('%s: asked %s, ready steps ask %s', k.name, c.asked, c.asks), null, null, c.key_id, null
from wrong c join lockkeeper_data.keys k on k.id = c.key_id where c.asked <> c.asks
union all
select 'slot without counter', format('run %s place %s key %s', s.run_id, s.place, s.key_id), s.run_id, s.place, s.key_id, null
from lockkeeper_data.slots s where not exists (select from lockkeeper_data.counters c where c.key_id = s.key_id)
union all
select 'key without counter, or counter without key', format('key %s', coalesce(k.id, c.key_id)), null, null, coalesce(k.id, c.key_id), null
from lockkeeper_data.keys k full join lockkeeper_data.counters c on c.key_id = k.id where k.id is null or c.key_id is null
union all
select 'key of workers is not as the leases are', format('job version %s', v.id), null, null, c.key_id, null
from lockkeeper_data.job_versions v join lockkeeper_data.counters c on c.key_id = v.workers_key
where (c.capacity >= 0) <> exists (select from lockkeeper_data.lease_jobs j join lockkeeper_data.leases l on l.id = j.lease_id where j.version_id = v.id and not l.ended);
end;

-- What must never be with lanes, whoever waits in them.
create function lockkeeper_data.violations_of_lanes()
returns table (violation text, detail text, run_id bigint, place int, key_id bigint, lane_id bigint)
language sql stable
begin atomic
with stamp as (
  select c.stamp as now from lockkeeper_data.configuration c
), room as materialized (
  -- Of each key where lanes sleep: whether the one that wants least could go on.
  select n.key_id, n.counts, r.capacity - c.in_use as take, r.capacity + m.look_buffer - c.in_use - c.asked as look
  from (select w.key_id, w.counts, min(w.amount) filter (where w.root = 0) as takes, min(w.amount) filter (where w.root > 0) as looks
        from lockkeeper_data.watches w group by w.key_id, w.counts) n
  join lockkeeper_data.counters c on c.key_id = n.key_id
  join lockkeeper_data.limits m on m.id = c.limit_id
  cross join lateral (select coalesce(m.override, c.capacity, m.capacity)::bigint) r(capacity)
  where r.capacity is null or n.takes <= r.capacity - c.in_use or n.looks <= r.capacity + m.look_buffer - c.in_use - c.asked
), looking as (
  select w.lane_id, count(*) as roots from lockkeeper_data.watches w where w.root > 0 group by w.lane_id
)
select 'lane is neither open nor asleep' as violation, format('lane %s', l.id) as detail, null::bigint as run_id, null::int as place, null::bigint as key_id, l.id as lane_id
from lockkeeper_data.lanes l join stamp on l.stamp = stamp.now
left join looking n on n.lane_id = l.id
where not exists (select from lockkeeper_data.open_lanes o where o.lane_id = l.id)
  and not exists (select from lockkeeper_data.watches w where w.root = 0 and w.lane_id = l.id)
  -- A looker sleeps when none of its root steps has room.
  and coalesce(n.roots < case when l.look_roots[1] = l.look_roots[cardinality(l.look_roots)] then 1
                              else (select count(distinct u) from unnest(l.look_roots) u) end, true)
union all
select 'lane sleeps beside room', format('lane %s root %s at %s', w.lane_id, w.root, k.name), null, null, w.key_id, w.lane_id
from room r
join lockkeeper_data.watches w on w.key_id = r.key_id and w.counts = r.counts
join lockkeeper_data.lanes l on l.id = w.lane_id
join stamp on stamp.now = l.stamp
join lockkeeper_data.keys k on k.id = w.key_id
where (r.take is null or w.amount <= case when w.root = 0 then r.take else r.look end)
  and not exists (select from lockkeeper_data.open_lanes o where o.lane_id = w.lane_id)
  -- An open lane with that key carries its baton: who grants from it wakes the next.
  and not exists (select from (select o.counts, x.key_id from lockkeeper_data.open_lanes o join lockkeeper_data.lanes y on y.id = o.lane_id join stamp on y.stamp = stamp.now
                               cross join lateral unnest(y.keys || y.look_keys || y.ask_keys) x(key_id)) o
                  where o.counts = w.counts and o.key_id = w.key_id);
end;

create view lockkeeper.violations as
select * from lockkeeper_data.violations_of_keys()
union all
select * from lockkeeper_data.violations_of_lanes()
union all
select * from lockkeeper_data.violations_of_runs(0, 9223372036854775807);
comment on view lockkeeper.violations is
  'What must never be: empty in a sound database. Proves that counters are the slots, slots are what the live subjects take, nobody who ended holds any, and no lane sleeps beside room. '
  'run_id, place, key_id and lane_id: what a row is about. Reads all that is live and waits; audit_keys, audit_lanes and audit_runs look at it in parts, repair mends it.';
