-- What people see.

-- What is live, and what has gone to the history. State as people see it: running once a step has started.
create view lockkeeper_data.all_runs as
select r.id, r.version_id, r.deployment_id, r.priority, r.max_concurrent, r.steps_left,
       case when r.state = 'admitted' and exists (select from lockkeeper_data.steps s where s.run_id = r.id and s.attempts > 0) then 'running' else r.state::text end as state,
       r.canceling, r.admission, r.submitted_at, r.admitted_at, r.ended_at, r.key, r.tags, r.start_at, r.queue_timeout_ms, r.timeout_ms, r.retry_of, r.expired
from lockkeeper_data.runs r
union all
select id, version_id, deployment_id, priority, max_concurrent, 0, state::text, canceling, admission, submitted_at, admitted_at, ended_at, key, tags,
       start_at, queue_timeout_ms, timeout_ms, retry_of, expired from lockkeeper_data.ended_runs;

create view lockkeeper.runs as
select r.id as run_id, v.job, v.version, d.name as deployment, d.kind as deployment_kind, r.state, r.priority, r.tags, r.key, r.max_concurrent,
       r.canceling, r.submitted_at, r.admitted_at, r.ended_at, r.admission, r.steps_left, v.step_count as steps,
       r.start_at, r.queue_timeout_ms, r.timeout_ms, r.retry_of, r.expired
from lockkeeper_data.all_runs r
-- Both are there. Left joins keep the order of the runs, so that the last runs are read without the others.
left join lockkeeper_data.job_versions v on v.id = r.version_id
left join lockkeeper_data.deployments d on d.id = r.deployment_id;
comment on view lockkeeper.runs is
  'Runs: state is queued, admitted (has its slots, no step has started), running, succeeded, failed or canceled. admission: its number in the order of admission. '
  'canceling: it was canceled and waits for its running steps. start_at: it asks for nothing before. expired: the deadline that it did not meet, queue_timeout or timeout. '
  'retry_of: the run of which it is a retry. Ended runs are kept for retention_days; ask by run_id, or with a lower bound of ended_at.';

-- Queued and admitted runs apart, and names last: so Postgres counts a million in parallel, and looks at the steps of the few.
create view lockkeeper.states as
select d.name as deployment, v.job, n.state, sum(n.runs)::bigint as runs
from (
  select r.deployment_id, r.version_id, 'queued' as state, count(*) as runs
  from lockkeeper_data.runs r where r.state = 'queued' group by r.deployment_id, r.version_id
  union all
  select a.deployment_id, a.version_id, case when exists (select from lockkeeper_data.steps s where s.run_id = a.id and s.attempts > 0) then 'running' else 'admitted' end, 1
  from (select r.id, r.deployment_id, r.version_id from lockkeeper_data.runs r where r.state = 'admitted' offset 0) a
) n
join lockkeeper_data.job_versions v on v.id = n.version_id
join lockkeeper_data.deployments d on d.id = n.deployment_id
group by d.name, v.job, n.state;
comment on view lockkeeper.states is
  'How many live runs are in which state, queued, admitted or running, by deployment and job. Faster than counting in the view runs.';

create view lockkeeper.steps as
select s.run_id, s.place, js.name as step, v.job, d.name as deployment, s.state::text as state, r.priority::bigint + js.priority as priority, js.pools, js.tags,
       s.attempts, s.losses, coalesce(a.started_at, o.started_at) as started_at, case when a.run_id is null then o.ended_at end as ended_at,
       coalesce(l.worker, o.worker) as worker, a.times_out_at, o.outcome::text as last_outcome, o.output, o.error, r.ended_at as run_ended_at
from lockkeeper_data.steps s
join lockkeeper_data.runs r on r.id = s.run_id
join lockkeeper_data.job_versions v on v.id = r.version_id
join lockkeeper_data.deployments d on d.id = r.deployment_id
join lockkeeper_data.job_steps js on js.version_id = r.version_id and js.place = s.place
left join lockkeeper_data.attempts a on a.run_id = s.run_id and a.place = s.place
left join lockkeeper_data.leases l on l.id = a.lease_id
left join lateral (select * from lockkeeper_data.outcomes x where x.run_id = s.run_id and x.place = s.place order by x.attempt desc limit 1) o on true
union all
-- One run at a time: so only the partition of its day is looked into.
select s.run_id, s.place, js.name, v.job, d.name, s.state::text, r.priority::bigint + js.priority, js.pools, js.tags,
       s.attempts, s.losses, o.started_at, o.attempt_ended_at, o.worker, null, o.outcome::text, o.output, o.error, s.ended_at
from lockkeeper_data.ended_steps s
cross join lateral (select * from lockkeeper_data.ended_runs x where x.id = s.run_id and x.ended_at = s.ended_at limit 1) r
join lockkeeper_data.job_versions v on v.id = r.version_id
join lockkeeper_data.deployments d on d.id = r.deployment_id
join lockkeeper_data.job_steps js on js.version_id = r.version_id and js.place = s.place
left join lateral (select * from lockkeeper_data.ended_outcomes x where x.run_id = s.run_id and x.place = s.place and x.ended_at = s.ended_at
                   order by x.attempt desc limit 1) o on true;
comment on view lockkeeper.steps is
  'Steps of runs, numbered by place in the job: state is pending, ready, running, succeeded, failed, skipped or canceled. attempts counts the starts, losses those that ended with their worker. '
  'worker, output and error are those of the last attempt; last_outcome is how that ended. Of a retry, steps that had succeeded have the outputs that they had, and no attempts. '
  'run_ended_at: null while the run is live; ask by run_id, or with a bound of run_ended_at, as the history has a partition for each day.';

create view lockkeeper.attempts as
select o.run_id, o.place, o.attempt, o.outcome::text as outcome, o.worker, o.started_at, o.ended_at, o.output, o.error, r.ended_at as run_ended_at
from lockkeeper_data.outcomes o join lockkeeper_data.runs r on r.id = o.run_id
union all
select a.run_id, a.place, a.attempt, null, l.worker, a.started_at, null, null, null, null
from lockkeeper_data.attempts a left join lockkeeper_data.leases l on l.id = a.lease_id
union all
select o.run_id, o.place, o.attempt, o.outcome::text, o.worker, o.started_at, o.attempt_ended_at, o.output, o.error, o.ended_at from lockkeeper_data.ended_outcomes o;
comment on view lockkeeper.attempts is
  'Attempts of steps, ended (outcome: succeeded, failed, canceled, timed_out, lost, returned or force_canceled) and running (no outcome). '
  'Ask by run_id, or with a bound of run_ended_at.';

create view lockkeeper.jobs as
select j.name as job, v.version, v.step_count as steps, v.pools, v.definition, v.created_at as registered_at
from lockkeeper_data.jobs j join lockkeeper_data.job_versions v on v.id = j.version_id;
comment on view lockkeeper.jobs is 'Jobs in the version that new runs get. pools: of each pool, the slots that the greediest step asks.';

create view lockkeeper.deployments as
select d.name as deployment, d.kind, d.created_at, d.ended_at from lockkeeper_data.deployments d;
comment on view lockkeeper.deployments is 'Where runs are submitted: kind is full or branch. One that has ended takes none, until it is added again.';

create view lockkeeper.limits as
select l.name, l.counts::text as counts,
       lockkeeper_data.limit_match(l) as match,
       l.per, coalesce(l.override, l.capacity) as capacity, l.capacity_attribute, l.override,
       case when l.source like 'user %' then 'user' when l.source like 'pause %' then 'pause' else l.source end as source,
       l.replaces, l.part_of, l.look_buffer, l.created_at, l.capacity as configured, l.override_by, l.override_why, l.override_at, l.override_until
from lockkeeper_data.limits l where l.counts is not null;
comment on view lockkeeper.limits is
  'Limits: of the live runs or steps (counts) that match, grouped by per, never more than capacity slots. capacity null is unlimited, 0 is paused; with an override it is the override. '
  'look_buffer: admission looks ahead at its keys, with so much buffer. source: configuration, built-in, job <name> (its executor block), user (set_limit) or pause. '
  'configured: the capacity without the override; override_by, _why, _at and _until tell who set it, why, when and until when.';

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
       array(select v.job from lockkeeper_data.lease_jobs j join lockkeeper_data.job_versions v on v.id = j.version_id where j.lease_id = l.id order by v.job, v.id) as jobs,
       array(select v.version from lockkeeper_data.lease_jobs j join lockkeeper_data.job_versions v on v.id = j.version_id where j.lease_id = l.id order by v.job, v.id) as versions
from lockkeeper_data.leases l;
comment on view lockkeeper.workers is 'Workers: room for steps at once, how many they run, until when their lease lasts, and the jobs that they serve, each with its version. A lease''s id is a secret and is not shown.';

-- The keys that are full for the subjects of each lane, as decide would find them.
create view lockkeeper_data.full_keys_of_lanes as
select f.lane_id, array_agg(distinct k.name order by k.name) as keys
from (
  select l.id as lane_id, t.key_id
  from lockkeeper_data.lanes l cross join lateral unnest(l.keys, l.amounts) t(key_id, amount)
  join lockkeeper_data.counters c on c.key_id = t.key_id
  join lockkeeper_data.limits m on m.id = c.limit_id
  where c.in_use + t.amount > coalesce(m.override, c.capacity, m.capacity)
  union all
  -- What it looks at, if none of its root steps has room.
  select b.lane_id, b.key_id
  from (select a.*, bool_and(a.root_is_full) over (partition by a.lane_id) as blocked
        from (select l.id as lane_id, t.key_id, n.is_full, bool_or(n.is_full) over (partition by l.id, t.root) as root_is_full
              from lockkeeper_data.lanes l cross join lateral unnest(l.look_roots, l.look_keys, l.look_amounts) t(root, key_id, amount)
              left join lockkeeper_data.counters c on c.key_id = t.key_id
              left join lockkeeper_data.limits m on m.id = c.limit_id
              cross join lateral (select coalesce(c.in_use + c.asked + t.amount > coalesce(m.override, c.capacity, m.capacity) + m.look_buffer, false)) n(is_full)) a) b
  where b.blocked and b.is_full
) f
join lockkeeper_data.keys k on k.id = f.key_id
group by f.lane_id;

create view lockkeeper.lanes as
select l.id as lane_id, l.counts::text as counts, v.job, v.version, l.priority, n.waiting, n.first_run_id,
       case when l.counts = 'run' then coalesce(r.start_at, r.submitted_at) else r.admitted_at end as since,
       coalesce(f.keys, '{}') as keys, exists (select from lockkeeper_data.open_lanes o where o.lane_id = l.id) as open
from lockkeeper_data.lanes l
join lockkeeper_data.job_versions v on v.id = l.version_id
join (select w.lane_id, count(*) as waiting, min(w.run_id) as first_run_id from lockkeeper_data.waiting w group by w.lane_id) n on n.lane_id = l.id
left join lockkeeper_data.runs r on r.id = n.first_run_id
left join lockkeeper_data.full_keys_of_lanes f on f.lane_id = l.id
union all
select 0::bigint, 'run', null, null, null, n.waiting, n.first_run_id, coalesce(r.start_at, r.submitted_at), '{}', true
from (select count(*) as waiting, min(w.run_id) as first_run_id from lockkeeper_data.waiting w where w.lane_id = 0) n
join lockkeeper_data.runs r on r.id = n.first_run_id;
comment on view lockkeeper.lanes is
  'What waits, by lane: runs (counts run) or ready steps (counts step) of one job version and priority that wait for the same keys. waiting: how many; first_run_id: the next in turn, since: when it '
  'began to wait; keys: those that are full, `workers` among them when no live worker accepts the version. Lane 0 has what was submitted and has no lane yet. Fast with a million queued: ask this, and not the view waiting.';
