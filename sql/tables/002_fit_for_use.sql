-- Overrides of limits, delayed runs and deadlines, retries, versions that a worker accepts, deployments that end, history.

alter table lockkeeper_data.configuration
  add column retention_days int default 30,
  add column branch_deployment_days int default 14,
  add column branches_looked_at timestamptz not null default '-infinity';

-- What was kept for ever until now stays, until a configuration says otherwise.
update lockkeeper_data.configuration set retention_days = null where exists (select from lockkeeper_data.runs);

-- An override counts instead of the capacity, until it is unset or its time is over.
alter table lockkeeper_data.limits
  add column override_by text,
  add column override_why text,
  add column override_at timestamptz,
  add column override_until timestamptz;

-- ended_at: takes no submissions any more. last_run_at: the end of the last of its runs that are in the history.
alter table lockkeeper_data.deployments
  add column ended_at timestamptz,
  add column last_run_at timestamptz;

-- shape: the same for versions with the same steps and edges.
alter table lockkeeper_data.job_versions add column shape uuid;
update lockkeeper_data.job_versions v set shape = md5((
  select jsonb_agg(jsonb_build_array(s.name, (select coalesce(jsonb_agg(b.name order by b.name), '[]') from lockkeeper_data.job_steps b
                                              where b.version_id = s.version_id and b.place = any (s.after))) order by s.name)
  from lockkeeper_data.job_steps s where s.version_id = v.id)::text)::uuid;
alter table lockkeeper_data.job_versions alter column shape set not null;

-- What a lease accepts beyond the versions that it names: every version of the job of this shape, or (null) of any.
create table lockkeeper_data.lease_accepts (
  lease_id uuid not null references lockkeeper_data.leases on delete cascade,
  job text not null,
  shape uuid,
  unique nulls not distinct (lease_id, job, shape)
);

-- expired: which of its deadlines the run did not meet.
alter table lockkeeper_data.runs
  add column start_at timestamptz,
  add column queue_timeout_ms bigint,
  add column timeout_ms bigint,
  add column retry_of bigint,
  add column expired text check (expired in ('queue_timeout', 'timeout'));
create index runs_retry on lockkeeper_data.runs (retry_of) where retry_of is not null;
create index runs_ended on lockkeeper_data.runs (ended_at) where ended_at is not null;

-- A run that is delayed waits in backoffs too, as place 0.
create table lockkeeper_data.deadlines (
  run_id bigint not null,
  deadline text not null check (deadline in ('queue_timeout', 'timeout')),
  at timestamptz not null,
  primary key (run_id, deadline)
);
create index deadlines_at on lockkeeper_data.deadlines (at);

-- The keys of runs, which are to be unique also when the run is history.
create table lockkeeper_data.run_keys (
  deployment_id int not null,
  key text not null,
  run_id bigint not null,
  ended_at timestamptz,
  primary key (deployment_id, key)
);
create index run_keys_ended on lockkeeper_data.run_keys (ended_at) where ended_at is not null;
insert into lockkeeper_data.run_keys (deployment_id, key, run_id) select deployment_id, key, id from lockkeeper_data.runs where key is not null;
drop index lockkeeper_data.runs_key;

alter table lockkeeper_data.ticket_changes drop constraint ticket_changes_change_check,
  add check (change in ('make', 'close', 'remake'));

-- ---------------------------------------------------------------- history: partitions by the day in which runs ended

-- Which days have partitions, those from first_day to the one before next_day in one. Mostly a day; more with long retention, so that there are
-- never many: each query locks them all, and Postgres's lock table is shared with the user's whole database.
create table lockkeeper_data.history_parts (
  first_day date primary key,
  next_day date not null
);

create table lockkeeper_data.ended_runs (
  id bigint not null,
  version_id int not null,
  deployment_id int not null,
  priority int not null,
  max_concurrent int,
  state lockkeeper_data.run_state not null,
  canceling boolean not null,
  admission bigint,
  submitted_at timestamptz not null,
  admitted_at timestamptz,
  ended_at timestamptz not null,
  key text,
  tags jsonb not null,
  start_at timestamptz,
  queue_timeout_ms bigint,
  timeout_ms bigint,
  retry_of bigint,
  expired text,
  input jsonb
) partition by range (ended_at);
create index on lockkeeper_data.ended_runs (id);

create table lockkeeper_data.ended_steps (
  run_id bigint not null,
  place int not null,
  state lockkeeper_data.step_state not null,
  attempts int not null,
  losses int not null,
  ended_at timestamptz not null
) partition by range (ended_at);
create index on lockkeeper_data.ended_steps (run_id, place);

create table lockkeeper_data.ended_outcomes (
  run_id bigint not null,
  place int not null,
  attempt int not null,
  outcome lockkeeper_data.outcome_kind not null,
  worker text,
  started_at timestamptz,
  attempt_ended_at timestamptz not null,
  output jsonb,
  error jsonb,
  ended_at timestamptz not null
) partition by range (ended_at);
create index on lockkeeper_data.ended_outcomes (run_id, place, attempt);
