-- What people see.

create view lockkeeper.runs as
select r.id as run_id, v.job, v.version, d.name as deployment, d.kind as deployment_kind,
       case when r.state = 'admitted' and exists (select from lockkeeper_data.steps s where s.run_id = r.id and s.attempts > 0) then 'running'
            else r.state::text end as state, r.priority, r.tags, r.key, r.max_concurrent,
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
