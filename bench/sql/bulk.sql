insert into items (item) select unnest($1::text[])
