-- What the floors write to, in a database of their own.
create table items (
  id bigint generated always as identity primary key,
  item text not null
);

create table counter (
  id integer primary key,
  n bigint not null
);

insert into counter values (1, 0);
