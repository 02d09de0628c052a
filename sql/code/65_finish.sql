-- Finish: attempts end. Each function here is one autocommit call with one lock phase.

create function lockkeeper.finish(lease uuid, items jsonb)
returns table (run_id bigint, place int, attempt int, answer text)
language plpgsql
set search_path = pg_catalog, pg_temp set plan_cache_mode = force_generic_plan set jit = off set enable_seqscan = off set enable_bitmapscan = off set enable_hashjoin = off set enable_mergejoin = off set enable_material = off set lock_timeout = '30s' as $$
#variable_conflict use_column
declare
  v_items lockkeeper_data.ending[];
  v_wrong text;
  v_endings lockkeeper_data.ending[] := '{}';
  v_ours boolean[] := '{}';
begin
  select e ->> 'outcome' into v_wrong from jsonb_array_elements(items) e
  where e ->> 'outcome' is null or e ->> 'outcome' not in ('succeeded', 'failed', 'returned') limit 1;
  if found then
    perform lockkeeper_data.refuse(format('outcome is %s, allowed are succeeded, failed and returned', coalesce(v_wrong, 'missing')), 'Say how the attempt ended.', p_field => 'outcome');
  end if;
  v_items := array(
    select row(i.no, i.run_id, i.place, i.attempt, i.outcome, nullif(i.output, 'null'), nullif(i.error, 'null'))::lockkeeper_data.ending
    from rows from (jsonb_to_recordset(items) as (run_id bigint, place int, attempt int, outcome text, output jsonb, error jsonb)) with ordinality
         i(run_id, place, attempt, outcome, output, error, no)
    order by i.no);
  perform lockkeeper_data.lock_configuration();
  perform from lockkeeper_data.leases l where l.id = finish.lease and not l.ended for share;
  if found then
    perform lockkeeper_data.lock_runs(array(select i.run_id from unnest(v_items) i));
    v_ours := array(select a.run_id is not null from unnest(v_items) i
      left join lockkeeper_data.attempts a on a.run_id = i.run_id and a.place = i.place and a.attempt = i.attempt and a.lease_id = finish.lease
      order by i.ordinal);
    v_endings := array(
      select row(d.ordinal, d.run_id, d.place, d.attempt, d.outcome, d.output, d.error)::lockkeeper_data.ending
      from (select distinct on (i.run_id, i.place) i.* from unnest(v_items) i where v_ours[i.ordinal] order by i.run_id, i.place, i.ordinal) d
      order by d.ordinal);
    if v_endings <> '{}' then
      perform lockkeeper_data.change_steps(v_endings, '{}', '{}');
    end if;
  end if;
  return query
    select i.run_id, i.place, i.attempt,
           case when v_ours[i.ordinal] and a.run_id is not null then 'retry' when v_ours[i.ordinal] then 'accepted'
                when o.run_id is not null then 'already' else 'refused' end
    from unnest(v_items) i
    left join lockkeeper_data.attempts a on a.run_id = i.run_id and a.place = i.place and a.attempt = i.attempt and a.lease_id = finish.lease
    left join lockkeeper_data.outcomes o on o.run_id = i.run_id and o.place = i.place and o.attempt = i.attempt
      and o.lease_id = finish.lease and o.outcome in ('succeeded', 'failed', 'canceled', 'returned')
    order by i.ordinal;
end $$;
comment on function lockkeeper.finish(uuid, jsonb) is
  'Ends attempts, an array of { run_id, place, attempt, outcome: succeeded | failed | returned (unstarted), output, error }. '
  'Answers for each: accepted; already (a repeat of what ended it); retry (not done, send it again: too many keys at once); refused (the attempt is no longer this lease''s).';
