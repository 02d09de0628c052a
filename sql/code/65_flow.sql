-- Claim, finish, and both at once. Each function here is one autocommit call.

-- What a worker says of attempts that ended. Refuses an outcome that is none.
create function lockkeeper_data.items_of(p_items jsonb) returns lockkeeper_data.ending[]
language plpgsql stable as $$
declare v_wrong text;
begin
  -- An expression, for which Postgres starts no query.
  if jsonb_path_exists(p_items, 'strict $[*] ? (!(exists (@.outcome ? (@ == "succeeded" || @ == "failed" || @ == "returned"))))') then
    select e ->> 'outcome' into v_wrong from jsonb_array_elements(p_items) e
    where e ->> 'outcome' is null or e ->> 'outcome' not in ('succeeded', 'failed', 'returned') limit 1;
    perform lockkeeper_data.refuse(format('outcome is %s, allowed are succeeded, failed and returned', coalesce(v_wrong, 'missing')), 'Say how the attempt ended.', p_field => 'outcome');
  end if;
  return array(
    select row(i.no, i.run_id, i.place, i.attempt, i.outcome, nullif(i.output, 'null'), nullif(i.error, 'null'))::lockkeeper_data.ending
    from rows from (jsonb_to_recordset(p_items) as (run_id bigint, place int, attempt int, outcome text, output jsonb, error jsonb)) with ordinality
         i(run_id, place, attempt, outcome, output, error, no)
    order by i.no);
end $$;

-- What became of each of them, in their order; p_ours: those that the lease had; p_done: how many of those ended.
create function lockkeeper_data.answers(p_lease uuid, p_items lockkeeper_data.ending[], p_ours lockkeeper_data.ending[], p_done int) returns text[]
language plpgsql volatile as $$
begin
  -- Mostly all were, and nothing has to be looked up.
  if cardinality(p_items) = p_done then return array_fill('accepted'::text, array[p_done]); end if;
  return array(
    select case when exists (select from unnest(p_ours) u where u.run_id = i.run_id and u.place = i.place and u.attempt = i.attempt)
                then case when a.run_id is not null then 'retry' else 'accepted' end
                when o.run_id is not null then 'already' else 'refused' end
    from unnest(p_items) i
    left join lockkeeper_data.attempts a on a.run_id = i.run_id and a.place = i.place and a.attempt = i.attempt and a.lease_id = p_lease
    left join lockkeeper_data.outcomes o on o.run_id = i.run_id and o.place = i.place and o.attempt = i.attempt
      and o.lease_id = p_lease and o.outcome in ('succeeded', 'failed', 'canceled', 'returned')
    order by i.ordinal);
end $$;

create function lockkeeper.exchange(lease uuid, items jsonb, number bigint, n int, out answers text[], out steps jsonb, out more boolean, out wakes text[])
language plpgsql
set search_path = pg_catalog, pg_temp set plan_cache_mode = force_generic_plan set jit = off set enable_seqscan = off set enable_bitmapscan = off set enable_hashjoin = off set enable_mergejoin = off set enable_material = off set lock_timeout = '30s' as $$
declare
  v_items lockkeeper_data.ending[] := lockkeeper_data.items_of(items);
  e record;
begin
  -- With nothing to do, nothing is locked and nothing written.
  if v_items = '{}' and not lockkeeper_data.claimable(array(select version_id from lockkeeper_data.lease_jobs where lease_id = lease))
     and exists (select from lockkeeper_data.leases l where l.id = lease and not l.ended)
     and not exists (select from lockkeeper_data.claims c where c.lease_id = lease and c.number = exchange.number) and number is not null then
    answers := '{}'; steps := '[]'; more := false; wakes := lockkeeper_data.left_over();
    return;
  end if;
  e := lockkeeper_data.exchange(lease, v_items, number, n);
  answers := lockkeeper_data.answers(lease, v_items, e.ours, e.done);
  steps := e.steps;
  more := e.more;
  wakes := e.wakes;
end $$;
comment on function lockkeeper.exchange(uuid, jsonb, bigint, int) is
  'finish, then claim, in one: the slots given back may be taken again by what waits for them. answers: those of finish, in order. steps, more: those of claim; without a number nothing is claimed. '
  'wakes: for whom there may be something to do now, of admit (a coordinator), claim (other workers) and end (who waits for results). LK005: the lease has ended, and nothing was done.';

create function lockkeeper.claim(lease uuid, number bigint, n int, out steps jsonb, out more boolean)
language plpgsql
set search_path = pg_catalog, pg_temp set plan_cache_mode = force_generic_plan set jit = off set enable_seqscan = off set enable_bitmapscan = off set enable_hashjoin = off set enable_mergejoin = off set enable_material = off set lock_timeout = '30s' as $$
declare e record;
begin
  e := lockkeeper.exchange(lease, '[]', number, n);
  steps := e.steps;
  more := e.more;
end $$;
comment on function lockkeeper.claim(uuid, bigint, int) is
  'Claims up to n ready steps for a lease, in order: they take their slots and run. Claims are numbered by the lease, rising: the last number again gets its answer again, '
  'an older one nothing. more: fewer than n were granted, and it is worth calling again at once. LK005: the lease has ended.';

create function lockkeeper.finish(lease uuid, items jsonb)
returns table (run_id bigint, place int, attempt int, answer text)
language plpgsql
set search_path = pg_catalog, pg_temp set plan_cache_mode = force_generic_plan set jit = off set enable_seqscan = off set enable_bitmapscan = off set enable_hashjoin = off set enable_mergejoin = off set enable_material = off set lock_timeout = '30s' as $$
#variable_conflict use_column
declare
  v_items lockkeeper_data.ending[] := lockkeeper_data.items_of(items);
  e record;
begin
  e := lockkeeper_data.exchange(finish.lease, v_items, null, 0);
  return query
    select i.run_id, i.place, i.attempt, i.answer
    from unnest(v_items, lockkeeper_data.answers(finish.lease, v_items, e.ours, e.done)) i(ordinal, run_id, place, attempt, outcome, output, error, answer) order by i.ordinal;
end $$;
comment on function lockkeeper.finish(uuid, jsonb) is
  'Ends attempts, an array of { run_id, place, attempt, outcome: succeeded | failed | returned (unstarted), output, error }. '
  'Answers for each: accepted; already (a repeat of what ended it); retry (not done, send it again: too many keys at once); refused (the attempt is no longer this lease''s).';
