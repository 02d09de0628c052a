-- Who is passed over: what is wide waits at a full key while what is narrow starts there.

create view lockkeeper.passed_over as
select p.run_id, p.place, js.name as step, k.name as key, p.amount, p.since, p.passed_by, p.last_passed_at
from lockkeeper_data.passed_over p
join lockkeeper_data.keys k on k.id = p.key_id
join lockkeeper_data.runs r on r.id = p.run_id
left join lockkeeper_data.job_steps js on js.version_id = r.version_id and js.place = p.place
where p.first;
comment on view lockkeeper.passed_over is
  'Runs (place 0, no step) and ready steps that ask for several slots or at several keys at once, have waited for ten minutes or more at a full key, and were passed over there: '
  'passed_by later ones hold slots of it and started after since, when this began to wait. Of those that ask for the same, the first. Read it with order by since and a limit.';
