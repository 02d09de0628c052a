insert into items (item) values ($1)
