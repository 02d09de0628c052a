-- Batons: who held a key's lock and leaves room at the key opens its first watchers. Watches are written and deleted only under their key's lock.

-- Whether a key with this room (null: no end) may have a taker that fits. Without room only what takes by amount 0 does, and that is at keys of
-- its own, so that the first taker tells for all: to look at each would be to read all that sleeps.
create function lockkeeper_data.fits_any(p_key bigint, p_room bigint) returns boolean
language plpgsql stable as $$
begin
  if p_room <> 0 then return p_room > 0; end if;
  return p_room is null or 0 = (select t.amount from lockkeeper_data.watches t where t.root = 0 and t.key_id = p_key
                                order by t.priority desc, t.run_id, t.attempts, t.place limit 1);
end $$;

-- The keys that have room and watchers.
create function lockkeeper_data.keys_to_pass(p_keys bigint[]) returns bigint[]
language plpgsql volatile as $$
begin
  return array(
    select r.key_id
    from lockkeeper_data.rooms(array(select distinct k from unnest(p_keys) k)) r
    where (lockkeeper_data.fits_any(r.key_id, r.room)
           and (select true from lockkeeper_data.watches t where t.root = 0 and t.key_id = r.key_id order by t.priority desc, t.run_id, t.attempts, t.place limit 1))
       or (coalesce(r.look > 0, true)
           and (select true from lockkeeper_data.watches t where t.root > 0 and t.key_id = r.key_id order by t.priority desc, t.run_id, t.attempts, t.place limit 1)));
end $$;

-- Passes the batons of keys whose locks the caller holds: opens first watchers while there is room, takers and lookers apart,
-- passing over those that want more than the room. Answers whether any was opened.
create function lockkeeper_data.pass_batons(p_keys bigint[]) returns boolean
language plpgsql volatile as $$
#variable_conflict use_column
declare
  -- Mostly there are none; to start the statement below for nothing would be most of a hand-over.
  v_keys bigint[] := lockkeeper_data.keys_to_pass(p_keys);
begin
  if v_keys = '{}' then return false; end if;
    with room as materialized (
      select r.*, lockkeeper_data.fits_any(r.key_id, r.room) as takes, coalesce(r.look > 0, true) as looks
      from lockkeeper_data.rooms(v_keys) r
    ), chosen as (
      select w.lane_id, w.root from room r cross join lateral (
        select x.lane_id, x.root, sum(x.amount) over (order by x.priority desc, x.run_id, x.attempts, x.place, x.lane_id, x.root) as total
        from (select * from lockkeeper_data.watches t
              where r.takes and t.root = 0 and t.key_id = r.key_id and (r.room is null or t.amount <= r.room)
              order by t.priority desc, t.run_id, t.attempts, t.place limit 100) x) w
      where r.room is null or w.total <= r.room
      union
      select w.lane_id, w.root from room r cross join lateral (
        select x.lane_id, x.root, sum(x.amount) over (order by x.priority desc, x.run_id, x.attempts, x.place, x.lane_id, x.root) as total
        from (select * from lockkeeper_data.watches t
              where r.looks and t.root > 0 and t.key_id = r.key_id and (r.look is null or t.amount <= r.look)
              order by t.priority desc, t.run_id, t.attempts, t.place limit 100) x) w
      where r.look is null or w.total <= r.look
    ), gone as (
      delete from lockkeeper_data.watches w using chosen c where w.lane_id = c.lane_id and w.root = c.root returning w.*
    )
    insert into lockkeeper_data.open_lanes (lane_id, counts, version_id, priority, run_id, attempts, place)
    select distinct lane_id, counts, version_id, priority, run_id, attempts, place from gone;
  return found;
end $$;

-- Keys with room at which lanes of these job versions sleep, while the open lanes that carry their batons are of versions that the caller
-- does not serve: nobody may have room for those, and the caller must not idle beside them. As far as the key locks go.
create function lockkeeper_data.batons_of_others(p_versions int[]) returns bigint[]
language plpgsql volatile as $$
begin
  return array(
  select r.key_id
  from lockkeeper_data.rooms(array(
    select distinct k from (select distinct o.lane_id from lockkeeper_data.open_lanes o where o.counts = 'step' and o.version_id <> all (p_versions) limit 200) o
    join lockkeeper_data.lanes l on l.id = o.lane_id cross join lateral unnest(l.keys) k)) r
  where lockkeeper_data.fits_any(r.key_id, r.room) and exists (select from unnest(p_versions) v(id) cross join lateral (
      select from lockkeeper_data.watches w where w.root = 0 and w.key_id = r.key_id and w.version_id = v.id and (r.room is null or w.amount <= r.room)
      order by w.priority desc, w.run_id, w.attempts, w.place limit 1) w)
  limit lockkeeper_data.most_locks());
end $$;

-- Takes over those batons: opens the first watcher of each of these job versions. The caller holds the locks of the keys.
create function lockkeeper_data.take_batons(p_keys bigint[], p_versions int[]) returns void
language plpgsql volatile as $$
#variable_conflict use_column
begin
    with gone as (
      delete from lockkeeper_data.watches w
      using lockkeeper_data.rooms(p_keys) r cross join unnest(p_versions) v(id)
      cross join lateral (
        select t.lane_id from lockkeeper_data.watches t
        where t.root = 0 and t.key_id = r.key_id and t.version_id = v.id and (r.room is null or t.amount <= r.room)
        order by t.priority desc, t.run_id, t.attempts, t.place limit 1) c
      where w.lane_id = c.lane_id and w.root = 0
      returning w.*
    )
    insert into lockkeeper_data.open_lanes (lane_id, counts, version_id, priority, run_id, attempts, place)
    select lane_id, counts, version_id, priority, run_id, attempts, place from gone;
end $$;
