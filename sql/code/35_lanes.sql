-- Lanes: who may start together, where a lane sleeps, and what wakes it.
-- A lane is open while it has a row in open_lanes. Only its owner closes it; anybody may open it.

-- Lanes that were born in this transaction behind a full key sleep there at once: nobody has opened them, so that they carry no batons, and the
-- lock of that one key is enough. A key that was born with them needs none. The others, and those beyond the locks, are left to who admits.
-- p_shapes: the first that will be in each lane.
create function lockkeeper_data.sleep_newborn(p_lanes bigint[], p_counts lockkeeper_data.subject_kind, p_shapes lockkeeper_data.subject[]) returns void
language plpgsql as $$
declare
  v_now xid := pg_current_xact_id()::xid;
  v_lanes bigint[]; v_nos bigint[]; v_keys bigint[]; v_amounts int[]; v_numbers int[];
begin
  select array_agg(u.id), array_agg(u.no), array_agg(f.key_id), array_agg(f.amount), array_agg(f.number) into v_lanes, v_nos, v_keys, v_amounts, v_numbers
  from (select distinct on (x.id) x.id, x.no from unnest(p_lanes) with ordinality x(id, no) cross join lateral (select (p_shapes[x.no]).*) s
        order by x.id, s.run_id, s.attempts, s.place) u
  cross join lateral (select y.keys, y.amounts from lockkeeper_data.lanes y where y.id = u.id and y.xmin = v_now offset 0) l
  cross join lateral (
    select k.key_id, k.amount, case when c.born then null else (k.key_id & 2047)::int end as number
    from unnest(l.keys, l.amounts) with ordinality k(key_id, amount, no)
    cross join lateral (select n.xmin = v_now as born, coalesce(m.override, n.capacity, m.capacity) - n.in_use as room
                        from lockkeeper_data.counters n join lockkeeper_data.limits m on m.id = n.limit_id where n.key_id = k.key_id offset 0) c
    where k.amount > c.room order by k.no desc limit 1) f;
  if v_lanes is null then return; end if;
  v_numbers := array(select distinct n from unnest(v_numbers) n where n is not null order by n limit lockkeeper_data.most_locks());
  perform lockkeeper_data.lock_keys(v_numbers);
  insert into lockkeeper_data.watches (lane_id, root, key_id, amount, counts, version_id, priority, run_id, attempts, place)
  select w.lane_id, 0, w.key_id, w.amount, p_counts, s.version_id, s.priority, s.run_id, s.attempts, s.place
  from unnest(v_lanes, v_nos, v_keys, v_amounts) w(lane_id, no, key_id, amount)
  cross join lateral (select (p_shapes[w.no]).*) s
  where (select (n.xmin = v_now or (w.key_id & 2047)::int = any (v_numbers)) and w.amount > coalesce(m.override, n.capacity, m.capacity) - n.in_use
         from lockkeeper_data.counters n join lockkeeper_data.limits m on m.id = n.limit_id where n.key_id = w.key_id);
end $$;

-- Finds the lanes of shapes under the limits as they are, makes those that are new, open, and holds them all
-- so that nobody buries them before the caller's commit. Answers one lane for each shape, by its number. p_sleep: those that are born behind a full
-- key sleep at once.
create function lockkeeper_data.find_lanes(p_counts lockkeeper_data.subject_kind, p_shapes lockkeeper_data.subject[], p_sleep boolean) returns bigint[]
language plpgsql as $$
declare
  v_specs lockkeeper_data.key_spec[] := array(select s::lockkeeper_data.key_spec from lockkeeper_data.shape_specs(p_counts, p_shapes) s);
  v_stamp bigint := lockkeeper_data.current_stamp();
  v_wanted lockkeeper_data.lanes[];
  v_found bigint[];
  v_born boolean := false;
begin
  perform lockkeeper_data.make_keys(v_specs);
  -- The key of the job version's workers is taken by amount 0: full while nobody serves it, never used up.
  v_wanted := array(
    select row(shape, p_counts, version_id, priority, v_stamp,
               md5(concat_ws('|', p_counts, version_id, priority, v_stamp, keys, amounts, look_roots, look_keys, look_amounts, ask_keys, ask_amounts))::uuid,
               keys, amounts, look_roots, look_keys, look_amounts, ask_keys, ask_amounts,
               array(select distinct (k & 2047)::int from unnest(keys || look_keys || ask_keys) k order by 1))::lockkeeper_data.lanes
    from (
      select g.shape, s.version_id, s.priority, g.keys, g.amounts,
             case when g.looks then g.look_roots else '{}' end as look_roots,
             case when g.looks then g.look_keys else '{}' end as look_keys,
             case when g.looks then g.look_amounts else '{}' end as look_amounts,
             coalesce(case p_counts when 'run' then g.look_keys else g.asked_keys end, '{}') as ask_keys,
             coalesce(case p_counts when 'run' then g.look_amounts else g.asked_amounts end, '{}') as ask_amounts
      from (
        select p.shape,
               array_agg(p.key_id order by p.key_id) filter (where p.root = 0) as keys,
               array_agg(p.amount order by p.key_id) filter (where p.root = 0) as amounts,
               array_agg(p.root order by p.root, p.key_id) filter (where p.root > 0) as look_roots,
               array_agg(p.key_id order by p.root, p.key_id) filter (where p.root > 0) as look_keys,
               array_agg(p.amount order by p.root, p.key_id) filter (where p.root > 0) as look_amounts,
               array_agg(p.key_id order by p.key_id) filter (where p.root = 0 and p.asks) as asked_keys,
               array_agg(-p.amount order by p.key_id) filter (where p.root = 0 and p.asks) as asked_amounts,
               -- A root that looks at nothing always has room; then there is nothing to look at.
               count(distinct p.root) filter (where p.root > 0) =
                 cardinality(lockkeeper_data.root_places((p_shapes[p.shape]).version_id, (p_shapes[p.shape]).attributes)) as looks
        from (
          select s.shape, s.root, k.id as key_id, s.amount, s.asks
          from unnest(v_specs) s join lockkeeper_data.keys k on k.limit_id = s.limit_id and k.identity = lockkeeper_data.values_identity(s.key_values)
          union all
          select s.no::int, 0, v.workers_key, 0, false
          from unnest(p_shapes) with ordinality s(run_id, place, attempts, version_id, priority, deployment_id, max_concurrent, attributes, pools, no)
          join lockkeeper_data.job_versions v on v.id = s.version_id
        ) p
        group by p.shape
      ) g
      cross join lateral (select (p_shapes[g.shape]).*) s
      order by g.shape
    ) w);
  loop
    perform from lockkeeper_data.lanes l
    where l.id in (select x.id from unnest(v_wanted) w join lockkeeper_data.lanes x on x.identity = w.identity)
    order by l.id for key share;

    v_found := array(select l.id from unnest(v_wanted) w join lockkeeper_data.lanes l on l.identity = w.identity order by w.id);
    exit when cardinality(v_found) = cardinality(v_wanted);
    v_born := true;
    insert into lockkeeper_data.lanes (counts, version_id, priority, stamp, identity, keys, amounts,
                                       look_roots, look_keys, look_amounts, ask_keys, ask_amounts, locks)
    select distinct on (w.identity) w.counts, w.version_id, w.priority, w.stamp, w.identity, w.keys, w.amounts,
           w.look_roots, w.look_keys, w.look_amounts, w.ask_keys, w.ask_amounts, w.locks
    from unnest(v_wanted) w
    where not exists (select from lockkeeper_data.lanes l where l.identity = w.identity)
    order by w.identity
    on conflict (identity) do nothing;
  end loop;
  if not v_born then return v_found; end if;
  if p_sleep then
    perform lockkeeper_data.sleep_newborn(v_found, p_counts, p_shapes);
  end if;
  -- Born open: what has neither a row here nor a watch was just made, here.
  insert into lockkeeper_data.open_lanes (lane_id, counts, version_id, priority, run_id, attempts, place)
  select distinct on (u.lane_id) u.lane_id, p_counts, s.version_id, s.priority, s.run_id, s.attempts, s.place
  from unnest(v_found) with ordinality u(lane_id, no)
  cross join lateral (select (p_shapes[u.no]).*) s
  -- Probes, not joins: these tables are empty at one moment, when plans are made, and long at the next.
  where (select true from lockkeeper_data.open_lanes o where o.lane_id = u.lane_id limit 1) is null
    and (select true from lockkeeper_data.watches x where x.lane_id = u.lane_id limit 1) is null
  order by u.lane_id, s.run_id, s.attempts, s.place;
  return v_found;
end $$;

-- The attributes that some limit names: subjects that differ in others only are the same to all limits. Kept with the configuration.
create function lockkeeper_data.attributes_seen() returns text[]
language plpgsql stable as $$
begin
  return array(
    select a from lockkeeper_data.limits l cross join lateral (
      select jsonb_object_keys(l.equals) union all select unnest(l.has || l.per) union all select l.capacity_attribute) x(a)
    where a is not null
    union select 'root_places' order by 1);
end $$;

-- The lane of each subject, in their order. Subjects in which no limit sees a difference are looked up once.
create function lockkeeper_data.lanes_of_subjects(p_counts lockkeeper_data.subject_kind, p_subjects lockkeeper_data.subject[], p_by_run boolean, p_sleep boolean) returns bigint[]
language plpgsql as $$
declare
  v_seen text[] := (select c.attributes_seen from lockkeeper_data.configuration c);
  v_shape_of int[];
  v_shapes lockkeeper_data.subject[];
  v_lanes bigint[];
begin
  if p_subjects = '{}' then return '{}'; end if;
  select array_agg(shape order by no),
         array_agg(subject order by shape) filter (where first)
  into v_shape_of, v_shapes
  from (select no, shape, subject, row_number() over (partition by shape order by run_id, attempts, place) = 1 as first
        from (select s.no, s.run_id, s.attempts, s.place,
                     (s.run_id, s.place, s.attempts, s.version_id, s.priority, s.deployment_id, s.max_concurrent, s.attributes, s.pools)::lockkeeper_data.subject as subject,
                     dense_rank() over (order by s.version_id, s.priority, s.deployment_id, s.max_concurrent, s.seen, s.pools,
                                        case when p_by_run or s.max_concurrent is not null then s.run_id end)::int as shape
              from (select u.*, array(select u.attributes ->> a from unnest(v_seen) a) as seen
                    from unnest(p_subjects) with ordinality u(run_id, place, attempts, version_id, priority, deployment_id, max_concurrent, attributes, pools, no)) s) x) y;
  v_lanes := lockkeeper_data.find_lanes(p_counts, v_shapes, p_sleep);
  return array(select v_lanes[u.shape] from unnest(v_shape_of) with ordinality u(shape, no) order by u.no);
end $$;

-- The subjects given by run and place (0: the run), each with the lane where it belongs. Mostly many are of one kind, a job with the same tags,
-- and then the attributes are made for one of them.
create function lockkeeper_data.lanes_of(p_counts lockkeeper_data.subject_kind, p_run_ids bigint[], p_places int[], p_sleep boolean default false) returns lockkeeper_data.waiting[]
language plpgsql as $$
declare
  v_by_run boolean;
  v_subjects lockkeeper_data.waiting[];
  v_kind_of int[];
  v_first_runs bigint[]; v_first_places int[];
  v_lanes bigint[];
begin
  if p_run_ids is null then return '{}'; end if;
  v_by_run := lockkeeper_data.limits_by_run(p_counts);
  select array_agg(row(0, x.run_id, x.attempts, x.place)::lockkeeper_data.waiting order by x.no), array_agg(x.kind order by x.no),
         array_agg(x.run_id order by x.kind) filter (where x.first), array_agg(x.place order by x.kind) filter (where x.first)
  into v_subjects, v_kind_of, v_first_runs, v_first_places
  from (select y.*, row_number() over (partition by y.kind order by y.run_id, y.attempts, y.place) = 1 as first
        from (select u.no, u.run_id, u.place, coalesce(s.attempts, 0) as attempts,
                     dense_rank() over (order by r.version_id, u.place, r.priority, r.deployment_id, r.max_concurrent, case p_counts when 'run' then r.tags end,
                       case when v_by_run or r.max_concurrent is not null or (p_counts = 'run' and r.retry_of is not null) then r.id end)::int as kind
              from unnest(p_run_ids, p_places) with ordinality u(run_id, place, no)
              join lockkeeper_data.runs r on r.id = u.run_id
              left join lockkeeper_data.steps s on s.run_id = u.run_id and s.place = u.place) y) x;
  if v_subjects is null then return '{}'; end if;
  v_lanes := lockkeeper_data.lanes_of_subjects(p_counts,
    array(select s::lockkeeper_data.subject from lockkeeper_data.subjects_of(p_counts, v_first_runs, v_first_places) s), v_by_run, p_sleep);
  return array(select row(v_lanes[u.kind], u.run_id, u.attempts, u.place)::lockkeeper_data.waiting
               from unnest(v_subjects, v_kind_of) with ordinality u(lane_id, run_id, attempts, place, kind, no) order by u.no);
end $$;

-- Puts subjects into lanes, or moves them there. A lane that gets a subject before the place where it is known to begin
-- is opened, so that its turn comes in order.
create function lockkeeper_data.join_lanes(p_subjects lockkeeper_data.waiting[]) returns void
language plpgsql as $$
begin
  insert into lockkeeper_data.waiting (lane_id, run_id, attempts, place)
  select * from unnest(p_subjects)
  on conflict (run_id, place) do update set lane_id = excluded.lane_id, attempts = excluded.attempts;

  insert into lockkeeper_data.open_lanes (lane_id, counts, version_id, priority, run_id, attempts, place)
  select j.lane_id, l.counts, l.version_id, l.priority, j.run_id, j.attempts, j.place
  from (select distinct on (lane_id) * from unnest(p_subjects) u order by lane_id, run_id, attempts, place) j
  join lockkeeper_data.lanes l on l.id = j.lane_id
  where (select true from (select * from lockkeeper_data.open_lanes x where x.lane_id = j.lane_id offset 0) o
         where (o.run_id, o.attempts, o.place) <= (j.run_id, j.attempts, j.place) limit 1) is null
    and (select true from (select * from lockkeeper_data.watches x where x.lane_id = j.lane_id offset 0) w
         where (w.run_id, w.attempts, w.place) <= (j.run_id, j.attempts, j.place) limit 1) is null;
end $$;

-- Takes subjects out of their lanes. Answers how `asked` of keys must change for it.
create function lockkeeper_data.leave_lanes(p_run_ids bigint[], p_places int[]) returns table (key_id bigint, asked bigint)
language plpgsql volatile as $$
#variable_conflict use_column
begin
  return query
    with gone as (
      delete from lockkeeper_data.waiting w using unnest(p_run_ids, p_places) u(run_id, place)
      where w.run_id = u.run_id and w.place = u.place
      returning w.lane_id, w.place
    )
    select a.key_id, sum(a.amount)
    from gone g join lockkeeper_data.lanes l on l.id = g.lane_id
    cross join lateral unnest(l.ask_keys, l.ask_amounts) a(key_id, amount)
    where g.place > 0
    group by a.key_id;
end $$;

-- Deletes lanes that the caller owns and saw empty, unless somebody is joining them right now: then they stay open.
create function lockkeeper_data.bury_lanes(p_lanes bigint[]) returns void
language plpgsql as $$
declare v_dead bigint[];
begin
  v_dead := array(select id from lockkeeper_data.lanes where id = any (p_lanes) order by id for update skip locked);
  -- A new statement: what joined before the lock is seen now.
  with dead as (
    delete from lockkeeper_data.lanes l where l.id = any (v_dead)
      and not exists (select from lockkeeper_data.waiting w where w.lane_id = l.id)
    returning l.id
  ), unwatched as (
    delete from lockkeeper_data.watches w using dead d where w.lane_id = d.id
  )
  delete from lockkeeper_data.open_lanes o using dead d where o.lane_id = d.id;
end $$;
