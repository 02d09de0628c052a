update counter set n = n + 1 where id = $1
