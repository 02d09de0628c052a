-- Which lanes a chooser looks at and owns, and what it must not pass over.

-- The first open lanes in order, of these job versions (null: of all), at most 100. Lanes of an old stamp are passed over.
create function lockkeeper_data.first_open_lanes(p_counts lockkeeper_data.subject_kind, p_versions int[]) returns bigint[]
language plpgsql stable as $$
begin
  return array(
  select f.lane_id
  from (select distinct on (o.lane_id) o.lane_id, o.priority, o.run_id, o.attempts, o.place
        from (select * from lockkeeper_data.open_lanes m
              where m.counts = p_counts and (p_versions is null or m.version_id = any (p_versions))
              order by m.priority desc, m.run_id, m.attempts, m.place limit 400) o
        -- A probe by id: for a join Postgres may take the index of the stamps, and read all lanes for each.
        where (select l.stamp from lockkeeper_data.lanes l where l.id = o.lane_id) = (select n.stamp from lockkeeper_data.configuration n)
        order by o.lane_id, o.priority desc, o.run_id, o.attempts, o.place) f
  order by f.priority desc, f.run_id, f.attempts, f.place
  limit 100);
end $$;

-- The first subject of these lanes in the order, with its lane; null if they are empty.
create function lockkeeper_data.first_subject(p_lanes bigint[]) returns lockkeeper_data.open_lanes
language plpgsql volatile as $$
declare v_first lockkeeper_data.open_lanes;
begin
  select l.id, l.counts, l.version_id, l.priority, w.run_id, w.attempts, w.place into v_first
  from unnest(p_lanes) u(id) join lockkeeper_data.lanes l on l.id = u.id
  cross join lateral (select * from lockkeeper_data.waiting x where x.lane_id = l.id order by x.run_id, x.attempts, x.place limit 1) w
  order by l.priority desc, w.run_id, w.attempts, w.place limit 1;
  return v_first;
end $$;

-- The first subject of the lanes that were opened since others were chosen; with a decision, of those that want a key that it takes. Null if there is none.
create function lockkeeper_data.opened_since(p_counts lockkeeper_data.subject_kind, p_versions int[], p_chosen bigint[], d lockkeeper_data.decision)
returns lockkeeper_data.open_lanes
language plpgsql volatile as $$
declare v_lanes bigint[] := lockkeeper_data.first_open_lanes(p_counts, p_versions);
begin
  if v_lanes <@ p_chosen then return null; end if;
  return lockkeeper_data.first_subject(array(
    select l.id from unnest(v_lanes) u(id) join lockkeeper_data.lanes l on l.id = u.id
    where u.id <> all (p_chosen)
      and (d.keys is null or exists (select from unnest(d.keys, d.used) k(key_id, used) where k.used > 0 and k.key_id = any (l.keys)))));
end $$;

-- Which of two places comes first in the order; null is behind all.
create function lockkeeper_data.earlier(a lockkeeper_data.open_lanes, b lockkeeper_data.open_lanes) returns lockkeeper_data.open_lanes
language sql immutable
return case when b.priority is null or a.priority > b.priority
              or (a.priority = b.priority and (a.run_id, a.attempts, a.place) <= (b.run_id, b.attempts, b.place)) then a else b end;

-- The lanes that will wake where so much is given back: of the first that sleep there as takers, those of these job versions. With what is given
-- back at many keys, no more than a chooser looks at; whom this passes over the baton opens.
create function lockkeeper_data.sleepers_at(p_counts lockkeeper_data.subject_kind, p_keys bigint[], p_amounts bigint[], p_versions int[]) returns bigint[]
language plpgsql volatile as $$
begin
  return array(
    select distinct w.lane_id
    from (select key_id, sum(amount) as amount from unnest(p_keys, p_amounts) u(key_id, amount) where amount > 0 group by key_id limit 100) u
    cross join lateral (
      select x.lane_id from (
        select t.lane_id, t.version_id, t.amount, t.counts from lockkeeper_data.watches t where t.root = 0 and t.key_id = u.key_id
        order by t.priority desc, t.run_id, t.attempts, t.place limit 100) x
      where x.counts = p_counts and x.version_id = any (p_versions) and x.amount <= u.amount limit u.amount) w
    where (select l.stamp from lockkeeper_data.lanes l where l.id = w.lane_id) = (select n.stamp from lockkeeper_data.configuration n) limit 100);
end $$;

-- Owns those of the lanes that a chooser needs, in their order, as far as the key locks go; cut are those beyond. Busy ones are passed over;
-- if all are busy, it waits for the first, holding nothing that anybody needs. p_locks: the locks that the caller will take besides.
create function lockkeeper_data.own_lanes(p_lanes bigint[], p_locks int[] default '{}', out owned bigint[], out cut bigint[])
language plpgsql as $$
declare
  v_owned bigint[];
  v_locks bigint;
begin
  cut := '{}';
  v_owned := array(select id from lockkeeper_data.lanes where id = any (p_lanes) order by id for no key update skip locked);
  if v_owned = '{}' and p_lanes <> '{}' then
    v_owned := array(select id from lockkeeper_data.lanes where id = p_lanes[1] for no key update);
  end if;
  select array_agg(o.id order by o.no), sum(cardinality(l.locks)) into owned, v_locks
  from unnest(p_lanes) with ordinality o(id, no) join lockkeeper_data.lanes l on l.id = o.id where o.id = any (v_owned);
  owned := coalesce(owned, '{}');
  if v_locks + cardinality(p_locks) <= lockkeeper_data.most_locks() then return; end if;
  owned := array(
    select f.id from (
      select n.id, n.no, sum(n.new) over (order by n.no) as locks, min(n.no) over () as first
      from (select m.id, m.no, count(*) filter (where m.nth = 1 and m.k <> all (p_locks)) as new
            from (select o.id, o.no, k, row_number() over (partition by k order by o.no) as nth
                  from unnest(p_lanes) with ordinality o(id, no) join lockkeeper_data.lanes x on x.id = o.id cross join lateral unnest(x.locks) k
                  where o.id = any (v_owned)) m
            group by m.id, m.no) n) f
    where f.locks <= lockkeeper_data.most_locks() - cardinality(p_locks) or f.no = f.first order by f.no);
  cut := array(select u from unnest(v_owned) u where u <> all (owned));
end $$;

create function lockkeeper_data.lock_lane_keys(p_lanes bigint[], p_locks int[] default '{}') returns void
language plpgsql volatile as $$
begin
  perform lockkeeper_data.lock_keys(p_locks || array(select n from lockkeeper_data.lanes l cross join lateral unnest(l.locks) n where l.id = any (p_lanes)));
end $$;

-- Of lanes for which the locks did not suffice, the first subject, but only if a key is left with less room by this decision than what waits
-- in them before its last grant wants, as taker or as looker: with room for all, who is written first makes no difference. Else null.
create function lockkeeper_data.passed_over(p_cut bigint[], d lockkeeper_data.decision) returns lockkeeper_data.open_lanes
language plpgsql volatile as $$
#variable_conflict use_column
declare
  v_granted int := cardinality(d.run_ids);
  v_priority bigint;
begin
  if p_cut = '{}' or v_granted = 0 then return null; end if;
  v_priority := (select l.priority from lockkeeper_data.lanes l where l.id = d.lane_ids[v_granted]);
  if exists (
      select from (
        select t.key_id, sum(t.amount * n.earlier) filter (where not t.looks) as wanted, sum(t.amount * n.earlier) filter (where t.looks) as looked
        from lockkeeper_data.lanes l
        cross join lateral (select count(*) as earlier from (
          select from lockkeeper_data.waiting w where w.lane_id = l.id and (l.priority > v_priority or w.run_id < d.run_ids[v_granted]) limit 500) x) n
        cross join lateral (select *, false from unnest(l.keys, l.amounts) union all select *, true from unnest(l.look_keys, l.look_amounts)) t(key_id, amount, looks)
        where l.id = any (p_cut) and l.priority >= v_priority group by t.key_id) c
      join unnest(d.keys, d.used, d.asked, d.seen_used, d.seen_asked, d.seen_capacity) k(key_id, used, asked, seen_used, seen_asked, capacity) on k.key_id = c.key_id
      join lockkeeper_data.counters n on n.key_id = k.key_id
      join lockkeeper_data.limits m on m.id = n.limit_id
      where c.wanted > k.capacity - k.seen_used - k.used
         or c.looked > k.capacity + m.look_buffer - k.seen_used - k.used - k.seen_asked - k.asked) then
    return lockkeeper_data.first_subject(p_cut);
  end if;
  return null;
end $$;
