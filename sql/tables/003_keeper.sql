-- Which pod keeps: pg-boss's maintenance, the audit and the tidying are one pod's turn, until it stops or no longer says that it is at it.
create table lockkeeper_data.keeper (
  one boolean primary key default true check (one),
  pod uuid,
  until timestamptz not null
);
insert into lockkeeper_data.keeper (until) values ('-infinity');
