-- Keep: what one pod does for all, in rounds.

create function lockkeeper.keep(pod uuid, ms int) returns boolean
language plpgsql set search_path = pg_catalog, pg_temp set jit = off as $$
declare v_now timestamptz := lockkeeper.now();
begin
  perform lockkeeper_data.check_isolation();
  update lockkeeper_data.keeper k set pod = keep.pod, until = v_now + ms * interval '1 millisecond' where k.pod = keep.pod or k.until <= v_now;
  return found;
end $$;
comment on function lockkeeper.keep(uuid, int) is
  'Takes or prolongs the turn to keep (pg-boss''s maintenance, the audit, the tidying) for ms milliseconds, 0 gives it back. pod is any id of the caller''s own. False: it is another pod''s.';
