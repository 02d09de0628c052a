-- Time, and the locks that come before all others.

create function lockkeeper.now() returns timestamptz
-- Not in SQL: that would be planned anew in each statement.
language plpgsql volatile set search_path = pg_catalog, pg_temp as $$
begin
  return coalesce((select c.frozen_at from lockkeeper_data.clock c), clock_timestamp());
end $$;
comment on function lockkeeper.now() is
  'The time as Lockkeeper sees it: the server''s clock, or the stopped clock of a test database.';

create function lockkeeper.stop_clock(at timestamptz default clock_timestamp()) returns timestamptz
language plpgsql set search_path = pg_catalog, pg_temp set jit = off as $$
begin
  if exists (select from lockkeeper_data.runs) and not exists (select from lockkeeper_data.clock) then
    raise exception 'the clock of a database that has runs cannot be stopped' using errcode = 'LK002',
      hint = 'Stop the clock of an empty test database, before its first run.';
  end if;
  insert into lockkeeper_data.clock (frozen_at) values (at) on conflict (one) do update set frozen_at = excluded.frozen_at;
  return at;
end $$;
comment on function lockkeeper.stop_clock(timestamptz) is
  'Makes an empty database a test database: its clock stands still at the time given until advance_clock moves it.';

create function lockkeeper.advance_clock(seconds numeric) returns timestamptz
language plpgsql set search_path = pg_catalog, pg_temp set jit = off as $$
declare v_at timestamptz;
begin
  if seconds is null or seconds < 0 then
    raise exception 'seconds is %, allowed are numbers from 0', coalesce(seconds::text, 'null') using errcode = 'LK002',
      hint = 'Time only moves on.';
  end if;
  update lockkeeper_data.clock set frozen_at = frozen_at + make_interval(secs => seconds::double precision) returning frozen_at into v_at;
  if v_at is null then
    raise exception 'the clock of this database runs by itself and cannot be moved' using errcode = 'LK002',
      hint = 'Only a test database, one where stop_clock was called, has a clock that can be moved.';
  end if;
  return v_at;
end $$;
comment on function lockkeeper.advance_clock(numeric) is 'Moves the stopped clock of a test database on by so many seconds.';

-- All advisory locks of ours are 5505019530000000000 + n: keys 0 to 2047 (the key's id modulo 2048, for ever),
-- configuration 4096, admission 4097, migrate 4098, pg-boss's maintenance 4099.

-- A look after a lock must see what was committed before it; at any other level it does not.
create function lockkeeper_data.check_isolation() returns void
language plpgsql as $$
begin
  if current_setting('transaction_isolation') <> 'read committed' then
    raise exception 'transaction isolation is %, allowed is read committed', current_setting('transaction_isolation')
      using errcode = 'LK001', hint = 'Set default_transaction_isolation to ''read committed'' for this role, or begin the transaction at that level.';
  end if;
end $$;

create function lockkeeper_data.lock_configuration(p_exclusive boolean default false) returns void
language plpgsql as $$
begin
  perform lockkeeper_data.check_isolation();
  if p_exclusive then
    perform pg_advisory_xact_lock(5505019530000000000 + 4096);
  else
    perform pg_advisory_xact_lock_shared(5505019530000000000 + 4096);
  end if;
end $$;

-- Sorted inside, so that they are locked in the order of the numbers.
create function lockkeeper_data.lock_keys(p_numbers int[]) returns void
language plpgsql as $$
begin
  perform pg_advisory_xact_lock(5505019530000000000 + x.n) from (select distinct n from unnest(p_numbers) n order by n offset 0) x;
end $$;

-- Where batches are cut. Postgres's lock table is shared with the user's whole database, but of key locks it never holds more than there are
-- numbers, 2048, and one more for each that waits: what a cut bounds is how long others wait.
create function lockkeeper_data.most_locks() returns int language sql immutable return 256;

create function lockkeeper_data.current_stamp() returns bigint
language plpgsql volatile as $$
begin
  return (select stamp from lockkeeper_data.configuration);
end $$;
