-- Collect: keys and counters of nobody go. Those of one run go with its end; these are the others, such as a tag's value that nobody has any more.

create function lockkeeper.collect_keys(n int default 5000) returns int
language plpgsql set search_path = pg_catalog, pg_temp set jit = off set lock_timeout = '200ms' as $$
declare
  v_idle bigint[];
begin
  -- Births of lanes hold the configuration lock shared: while it is held exclusively, no lane can come to refer to a key.
  begin
    perform lockkeeper_data.lock_configuration(true);
  exception when lock_not_available then
    return 0;
  end;
  -- With very many lanes the look at all of them would hold everybody up.
  if (select count(*) from (select from lockkeeper_data.lanes limit 20001) x) > 20000 then
    return 0;
  end if;
  -- As sets, of which each is read once, whatever Postgres believes of their sizes.
  v_idle := array(
    select c.key_id from lockkeeper_data.counters c join lockkeeper_data.limits l on l.id = c.limit_id and l.counts is not null
    where c.in_use = 0 and c.asked = 0
    except select unnest(x.keys || x.look_keys || x.ask_keys) from lockkeeper_data.lanes x
    except select w.key_id from lockkeeper_data.watches w
    limit n);
  delete from lockkeeper_data.counters c where c.key_id = any (v_idle);
  delete from lockkeeper_data.keys k where k.id = any (v_idle);
  return cardinality(v_idle);
end $$;
comment on function lockkeeper.collect_keys(int) is
  'Deletes up to n keys, with their counters, that nobody holds, asks for or waits at. Answers how many; 0 also when it would have had to wait.';
