-- Deployments: where runs are submitted.

create function lockkeeper_data.refuse(p_message text, p_hint text, p_code text default 'LK002', p_field text default null) returns void
language plpgsql as $$
begin
  if p_field is null then
    raise exception '%', p_message using errcode = p_code, hint = p_hint;
  end if;
  raise exception '%', p_message using errcode = p_code, hint = p_hint, column = p_field;
end $$;

-- A value as a person may read it in an error: short, without control characters.
create function lockkeeper_data.shown(p_value jsonb) returns text
language sql immutable
return coalesce(left(p_value::text, 80), 'missing');

-- Adds a deployment, or takes up one again that had ended.
create function lockkeeper_data.make_deployment(p_name text, p_kind text) returns void
language plpgsql as $$
declare v_kind text;
begin
  insert into lockkeeper_data.deployments (name, kind, attributes, created_at)
  values (p_name, p_kind, jsonb_build_object('deployment', p_name, 'deployment_kind', p_kind), lockkeeper.now())
  on conflict (name) do update set ended_at = null, created_at = excluded.created_at
  where deployments.ended_at is not null and deployments.kind = excluded.kind;
  select d.kind into v_kind from lockkeeper_data.deployments d where d.name = p_name;
  if v_kind <> p_kind then
    perform lockkeeper_data.refuse(format('deployment %s exists and is %s, not %s', to_json(p_name), v_kind, p_kind),
      'A deployment keeps its kind; choose another name.', 'LK007', case p_kind when 'branch' then 'branch' else 'deployment' end);
  end if;
end $$;

create function lockkeeper.add_deployment(name text, kind text default 'full') returns void
language plpgsql set search_path = pg_catalog, pg_temp set jit = off as $$
begin
  if name is null or name = '' or length(name) > 200 then
    perform lockkeeper_data.refuse(format('deployment name is %s, allowed are 1 to 200 characters', coalesce(to_json(name)::text, 'null')), 'Give the deployment a name.');
  end if;
  if kind is null or kind not in ('full', 'branch') then
    perform lockkeeper_data.refuse(format('kind is %s, allowed are "full" and "branch"', coalesce(to_json(kind)::text, 'null')),
      'A full deployment counts for the runs settings, a branch for branch_deployments.');
  end if;
  perform lockkeeper_data.make_deployment(name, kind);
end $$;
comment on function lockkeeper.add_deployment(text, text) is
  'Adds a deployment of kind full or branch. Repeated, it changes nothing; with another kind it is refused (LK007). One that had ended is taken up again.';
