-- What the end of attempts, and other changes of steps, will do: made before any key is locked.

-- keys, amounts: the keys to be locked, with what is given back there (0: only what ready steps ask changes). done: the runs for which it is.
create type lockkeeper_data.change_plan as (
  endings lockkeeper_data.ending[], changes lockkeeper_data.step_change[], of_endings lockkeeper_data.step_change[],
  ready lockkeeper_data.waiting[], ending bigint[], canceled bigint[], keys bigint[], amounts bigint[], done bigint[]
);
