/**
 * What to write instead of a setting that stands in the wrong place, or that Dagster has and Lockkeeper has not or
 * calls otherwise. Each text ends the sentence "NAME: …".
 */
const elsewhere = new Map<string, string>();

function say(text: (name: string) => string, ...names: string[]) {
  for (const name of names) elsewhere.set(name, text(name));
}

/** What to write instead of this setting, if we know. */
export function insteadOf(name: string): string | undefined {
  return elsewhere.get(name);
}

const home = (path: string) => (name: string) => `belongs elsewhere; write it as \`${path}.${name}\``;
say(home('concurrency.runs'), 'max_concurrent_runs');
say(home('concurrency.executor'), 'max_concurrent');
say(home('concurrency.pools'), 'default_limit', 'granularity', 'op_granularity_run_buffer');
say(
  home('concurrency.branch_deployments'),
  'max_concurrent_branch_deployment_runs',
  'max_concurrent_runs_per_branch_deployment',
  'branch_deployment_tag_concurrency_limits',
);
say(home('concurrency'), 'runs', 'pools', 'executor', 'branch_deployments');
say(
  (name) => `belongs at the top of the file; write it as \`${name}\` without indent`,
  'concurrency',
  'deployments',
);
say(
  (name) =>
    `belongs elsewhere; write \`concurrency.runs.${name}\` for runs, \`concurrency.executor.${name}\` for the steps ` +
    'inside one run',
  'tag_concurrency_limits',
);

say(
  (name) =>
    `Dagster's older form; write its max_concurrent_runs and tag_concurrency_limits under \`concurrency.runs\`, and its ` +
    'block_op_concurrency_limited_runs.op_concurrency_slot_buffer as `concurrency.pools.op_granularity_run_buffer`; ' +
    `nothing else of \`${name}\` has a meaning here`,
  'run_queue',
  'run_coordinator',
);
say(
  () => "Dagster's older name; write it as `concurrency.pools.default_limit`",
  'default_op_concurrency_limit',
  'default_op_limit',
  'default_pool_limit',
);
say(
  () => "Dagster's older name; write it as `concurrency.pools.op_granularity_run_buffer`",
  'op_concurrency_slot_buffer',
);
say(
  () =>
    'always on here; leave it out, and write its op_concurrency_slot_buffer as ' +
    '`concurrency.pools.op_granularity_run_buffer`',
  'block_op_concurrency_limited_runs',
  'should_block_op_concurrency_limited_runs',
);
say(
  () => 'has no meaning here: runs are admitted as soon as there is room; leave it out',
  'dequeue_interval_seconds',
  'dequeue_use_threads',
  'dequeue_num_workers',
);
say(
  () =>
    'has no meaning here: a step of a lost worker starts again by itself; leave it out, and write `timeout` and ' +
    '`max_losses` at the steps of a job',
  'run_monitoring',
  'start_timeout_seconds',
  'cancel_timeout_seconds',
  'max_runtime_seconds',
  'max_resume_run_attempts',
  'poll_interval_seconds',
  'free_slots_after_run_end_seconds',
);
say(
  () =>
    'has no meaning here: steps are tried again, not runs; leave it out, and write `max_attempts` at the steps of a job',
  'run_retries',
  'max_retries',
  'retries',
  'max_user_code_failure_retries',
  'user_code_failure_retry_delay',
);
say(
  () => 'has no meaning here: steps run in the workers that you start (`lockkeeper worker`); leave it out',
  'run_launcher',
  'user_code_launcher',
  'start_method',
  'non_isolated_runs',
  'agent_queues',
);
say(
  () =>
    "Dagster's run config; write max_concurrent and tag_concurrency_limits directly under `concurrency.executor`, or " +
    "in a job's own `executor` block",
  'execution',
  'multiprocess',
  'in_process',
);
say(
  () => 'a setting of Dagster that has no meaning here; leave it out',
  'storage',
  'run_storage',
  'event_log_storage',
  'schedule_storage',
  'local_artifact_storage',
  'compute_logs',
  'scheduler',
  'schedules',
  'sensors',
  'backfills',
  'auto_materialize',
  'freshness',
  'telemetry',
  'nux',
  'python_logs',
  'code_servers',
  'secrets',
  'instance',
  'instance_class',
  'sso_default_role',
  'dagster_cloud_api',
);
say(
  () => "Dagster's; write `retention_days` at the top of the file for how long runs that ended are kept",
  'retention',
);
