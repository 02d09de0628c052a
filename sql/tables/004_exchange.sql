-- Finish and claim are one exchange.

-- What the end of attempts, and other changes of steps, will do: made before any key is locked.
-- keys, amounts, locks: the keys to be locked, with what is given back there (0: only what ready steps ask changes), and the numbers of their locks. done: the runs for which it is.
-- waited: some of it may wait in lanes, or for a time. backs_off: some of it will.
create type lockkeeper_data.change_plan as (
  endings lockkeeper_data.ending[], changes lockkeeper_data.step_change[], of_endings lockkeeper_data.step_change[],
  ready lockkeeper_data.waiting[], ending bigint[], canceled bigint[], keys bigint[], amounts bigint[], locks int[], done bigint[], waited boolean, backs_off boolean
);

-- The claims of a lease that granted something: the last number is that of the last claim. held: at most so many attempts were the lease's then.
-- Rows apart from the lease's own: where a long transaction keeps all versions of a row, each look at it would walk through them.
create table lockkeeper_data.claims (
  lease_id uuid not null,
  number bigint not null,
  held int not null,
  primary key (lease_id, number)
) with (autovacuum_vacuum_scale_factor = 0.02, autovacuum_vacuum_cost_delay = 1);
insert into lockkeeper_data.claims (lease_id, number, held)
select l.id, l.claim_number, (select count(*) from lockkeeper_data.attempts a where a.lease_id = l.id) from lockkeeper_data.leases l where l.claim_number > 0;
alter table lockkeeper_data.leases drop column claim_number;

-- attributes_seen: those that some limit names.
alter table lockkeeper_data.configuration add column attributes_seen text[] not null default '{root_places}';
update lockkeeper_data.configuration set attributes_seen = array(
  select a from lockkeeper_data.limits l cross join lateral (
    select jsonb_object_keys(l.equals) union all select unnest(l.has || l.per) union all select l.capacity_attribute) x(a)
  where a is not null
  union select 'root_places' order by 1);
