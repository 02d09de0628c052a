-- A small world in which nearly every function has something to do, its pieces by name, and a judge of what a race left behind.
-- The test database's own, like sql/testing.sql, which brings the world back before each case.

create schema races;
create table races.run_names (name text primary key, id bigint not null);
create table races.lease_names (name text primary key, id uuid not null);

create function races.run(p_name text) returns bigint
language sql stable return (select id from races.run_names where name = p_name);
create function races.runs(p_names text) returns bigint[]
language sql stable return array(select races.run(trim(u)) from unnest(string_to_array(p_names, ',')) u);
create function races.lease(p_name text) returns uuid
language sql stable return (select id from races.lease_names where name = p_name);

-- Items of finish for attempts as they were before the race: 'load1.extract succeeded, scan1.scan failed'.
create function races.items(p_items text) returns jsonb
language sql stable
begin atomic
  select jsonb_agg(jsonb_build_object('run_id', races.run(i.part[1]), 'place', js.place, 'attempt', 1, 'outcome', i.part[3]))
  from (select string_to_array(replace(trim(u), ' ', '.'), '.') as part from unnest(string_to_array(p_items, ',')) u) i
  join lockkeeper_data.runs r on r.id = races.run(i.part[1])
  join lockkeeper_data.job_steps js on js.version_id = r.version_id and js.name = i.part[2];
end;

create function races.limit_rows(p_warehouse int, p_runs int) returns jsonb
language sql immutable
return jsonb_build_array(
  jsonb_build_object('name', 'runs', 'counts', 'run', 'match', '{"deployment_kind": "full"}'::jsonb, 'per', '["deployment"]'::jsonb, 'capacity', p_runs, 'part_of', '["runs block"]'::jsonb),
  jsonb_build_object('name', 'runs.tag.customer=*', 'counts', 'run', 'match', '{"deployment_kind": "full", "tag.customer": true}'::jsonb, 'per', '["deployment", "tag.customer"]'::jsonb,
                     'capacity', 1, 'part_of', '["runs block"]'::jsonb),
  jsonb_build_object('name', 'pool.warehouse', 'counts', 'step', 'match', '{"pool": "warehouse"}'::jsonb, 'capacity', p_warehouse, 'look_buffer', 1),
  jsonb_build_object('name', 'pool.api', 'counts', 'step', 'match', '{"pool": "api"}'::jsonb, 'capacity', 3, 'look_buffer', 3),
  jsonb_build_object('name', 'executor', 'counts', 'step', 'match', '{"job": true}'::jsonb, 'per', '["run"]'::jsonb, 'capacity', 2, 'part_of', '["executor block", "max_concurrent"]'::jsonb));

create function races.definition(p_job text, p_version text default '1') returns jsonb
language sql immutable
return jsonb_build_object('job', p_job, 'version', p_version, 'steps', case p_job
  when 'load' then '[{"name": "extract", "pools": {"warehouse": 1}}, {"name": "copy", "after": ["extract"], "pools": {"warehouse": 2}},
                     {"name": "report", "after": ["extract"], "pools": {"api": 1}}, {"name": "close", "after": ["copy", "report"]}]'
  when 'scan' then '[{"name": "scan", "pools": {"warehouse": 1, "api": 1}, "max_attempts": 3}]'
  when 'wide' then '[{"name": "wide", "pools": {"warehouse": 3}}]'
  when 'flaky' then '[{"name": "try", "pools": {"api": 1}, "max_attempts": 3, "backoff_ms": 5000}]'
  when 'call' then '[{"name": "call", "pools": {"api": 2}}]'
  when 'ring' then '[{"name": "ring", "pools": {"api": 2}}]'
  when 'slow' then '[{"name": "slow", "timeout_ms": 5000, "max_attempts": 2}]'
  when 'free' then '[{"name": "one"}, {"name": "two", "after": ["one"]}]' end::jsonb);

create function races.submit(p_name text, p_job text, p_more jsonb default '{}') returns void
language sql volatile
begin atomic
  insert into races.run_names (name, id) select p_name, s.run_id from lockkeeper.submit(jsonb_build_object('job', p_job) || p_more) s;
end;

create function races.tick() returns void
language plpgsql as $$
begin
  while (select l.more from lockkeeper.lane() l) loop end loop;
  while (select a.more from lockkeeper.admit() a) loop end loop;
end $$;

create function races.open_lease(p_name text, p_jobs text, p_lease_ms int, p_room int default 20) returns void
language plpgsql as $$
begin
  insert into races.lease_names (name, id) values (p_name, lockkeeper.open_lease(p_name, p_room,
    (select jsonb_agg(jsonb_build_object('job', trim(u), 'version', '1')) from unnest(string_to_array(p_jobs, ',')) u), p_lease_ms));
end $$;

-- Claims by the lease until nothing more is granted.
create function races.claim_all(p_lease uuid, p_n int) returns void
language plpgsql as $$
declare v_more boolean := true;
begin
  while v_more loop
    select c.more into v_more from lockkeeper.claim(p_lease, (select coalesce(max(l.number), 0) + 1 from lockkeeper_data.claims l where l.lease_id = p_lease), p_n) c;
  end loop;
end $$;

create procedure races.build() language plpgsql as $$
begin
  perform lockkeeper.stop_clock('2026-01-01 12:00Z');
  perform lockkeeper.add_deployment('pr-1', 'branch');
  perform lockkeeper.register(races.definition(u)) from unnest('{load,scan,wide,flaky,slow,free,call,ring}'::text[]) u;
  perform lockkeeper.apply_limits(races.limit_rows(3, 10));
  perform lockkeeper.reap();
  perform races.open_lease('a', 'load, scan, wide, flaky, slow, free, call', 86400000);
  commit;
  -- Long ago: one for the history, one to be tried again.
  perform races.submit('old', 'free'), races.submit('failed', 'scan');
  perform races.tick();
  perform lockkeeper.cancel(races.runs('old, failed'));
  perform lockkeeper.advance_clock(600);
  commit;
  -- Who is b has few seconds to live.
  perform races.open_lease('b', 'load, scan', 1000), races.open_lease('c', 'scan, free, ring', 86400000);
  perform races.submit('load1', 'load'), races.submit('scan1', 'scan', '{"tags": {"customer": "acme"}}');
  perform races.tick();
  perform races.claim_all(races.lease('a'), 20);
  perform races.submit('load2', 'load');
  perform races.tick();
  perform races.claim_all(races.lease('b'), 1);
  perform races.submit('flaky1', 'flaky');
  perform races.tick();
  perform races.claim_all(races.lease('a'), 20);
  perform lockkeeper.finish(races.lease('a'), races.items('flaky1.try failed'));
  perform races.submit('slow1', 'slow');
  perform races.tick();
  perform races.claim_all(races.lease('a'), 20);
  commit;
  -- Ready and asleep at the warehouse; queued and asleep there, at the tag, at the runs; ready and open.
  perform races.submit('scan2', 'scan', '{"tags": {"customer": "beta"}}');
  perform races.tick();
  perform races.claim_all(races.lease('a'), 20);
  perform races.submit('wide1', 'wide'), races.submit('scan3', 'scan', '{"tags": {"customer": "acme"}, "priority": 3}'), races.submit('load3', 'load');
  perform races.tick();
  -- Two lanes of which only one finds room at the api, each for a worker of its own.
  perform races.submit('ring1', 'ring'), races.submit('call1', 'call', '{"priority": 1}');
  perform races.submit('free1', 'free'), races.submit('free2', 'free');
  perform races.tick();
  perform races.submit('free3', 'free', '{"queue_timeout_ms": 5000}'), races.submit('free4', 'free', '{"priority": 1}'),
          races.submit('late', 'free', '{"start_at": "2026-01-01T12:10:05Z"}');
  perform races.tick();
  perform lockkeeper.cancel(races.runs('load2'));
  perform lockkeeper.advance_clock(10);
  commit;
  -- Laned and not yet looked at; and just submitted.
  perform races.submit('branch1', 'load', '{"deployment": "pr-1"}'), races.submit('free5', 'free', '{"priority": 2}');
  perform lockkeeper.lane();
  perform races.submit('new1', 'scan', '{"priority": 5}'), races.submit('new2', 'wide'), races.submit('new3', 'free');
  commit;
end $$;
