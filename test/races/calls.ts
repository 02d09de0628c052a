/** The short transactions of Lockkeeper as data, in the world of `world.sql`; and the locks at which they are stopped. */

export type Call = {
  name: string;
  sql: string;
  /** SQLSTATEs that it documents for what another may do to it meanwhile. */
  refused?: string[];
};

export type Gate = { name: string; sql: string };

const leaseEnded = ['LK005'];
const limits = (warehouse: number, runs: number, also = '[]') =>
  `select * from lockkeeper.apply_limits(races.limit_rows(${warehouse}, ${runs}) || '${also}'::jsonb)`;
const oneMore = '[{"name": "sizes", "counts": "step", "match": {"job": "scan"}, "capacity": 1}]';
const claim = (lease: string, n: number) =>
  `select * from lockkeeper.claim(races.lease('${lease}'), 100, ${n})`;
const finish = (lease: string, items: string) =>
  `select * from lockkeeper.finish(races.lease('${lease}'), races.items('${items}'))`;
const exchange = (lease: string, items: string, n: number) =>
  `select * from lockkeeper.exchange(races.lease('${lease}'), races.items('${items}'), 100, ${n})`;
const cancel = (runs: string, force = false) =>
  `select * from lockkeeper.cancel(races.runs('${runs}'), ${force})`;
const renew = (lease: string, items: string) =>
  `select * from lockkeeper.renew_lease(races.lease('${lease}'), races.items('${items}'))`;
const version = (job: string, name: string) => `[{"job": "${job}", "version": "${name}"}]`;

/** What happens all the time: from submission to the end of a step. */
export const flow: Call[] = [
  { name: 'submit', sql: `select * from lockkeeper.submit('[{"job": "scan"}, {"job": "wide"}]')` },
  { name: 'lane', sql: 'select * from lockkeeper.lane(100)' },
  { name: 'admit', sql: 'select * from lockkeeper.admit(100)' },
  { name: 'claim of a', sql: claim('a', 20), refused: leaseEnded },
  { name: 'claim of one step by c', sql: claim('c', 1), refused: leaseEnded },
  { name: 'finish of extract and scan', sql: finish('a', 'load1.extract succeeded, scan1.scan succeeded') },
  {
    name: 'exchange of extract and scan',
    sql: exchange('a', 'load1.extract succeeded, scan1.scan succeeded', 20),
    refused: leaseEnded,
  },
  { name: 'finish that fails scan', sql: finish('a', 'scan1.scan failed') },
  { name: 'finish of slow, late', sql: finish('a', 'slow1.slow succeeded') },
];

/** What ends runs before their time, and what changes the order. */
export const people: Call[] = [
  { name: 'cancel of what waits', sql: cancel('scan2, wide1, scan3, free1, call1') },
  { name: 'cancel of what runs', sql: cancel('scan1, load1, slow1') },
  { name: 'cancel of what is new', sql: cancel('new1, new3, free4') },
  { name: 'force', sql: cancel('scan1, load1, scan2, load2', true) },
  { name: 'force of one', sql: cancel('load1', true) },
  {
    name: 'cancel_queued',
    sql: `select * from lockkeeper.cancel_queued(races.runs('free5, branch1, load3, new2'))`,
  },
  {
    name: 'set_priority',
    sql: `select * from lockkeeper.set_priority(races.runs('free4, load3, new2, branch1'), 9)`,
  },
  { name: 'retry', sql: `select * from lockkeeper.retry(races.runs('failed, old'))`, refused: ['LK004'] },
  {
    name: 'delete_deployment',
    sql: `select * from lockkeeper.delete_deployment('pr-1', 'cancel')`,
  },
  {
    name: 'submit to a branch',
    sql: `select * from lockkeeper.submit('[{"job": "free", "branch": "pr-1"}]')`,
  },
  {
    name: 'submit with a key',
    sql: `select * from lockkeeper.submit('[{"job": "free", "key": "k1"}, {"job": "free", "key": "k2"}]')`,
  },
];

/** Limits and jobs. */
export const configuration: Call[] = [
  { name: 'apply that raises', sql: limits(5, 14) },
  { name: 'apply that lowers', sql: limits(1, 2) },
  { name: 'apply that adds a limit', sql: limits(3, 10, oneMore) },
  {
    name: 'apply that removes them all',
    sql: `select * from lockkeeper.apply_limits('[]')`,
  },
  {
    name: 'override',
    sql: `select lockkeeper.override_limit('pool.warehouse', 6, 'ops', 'night', lockkeeper.now() + interval '1 s')`,
  },
  {
    name: 'pause',
    sql: `select lockkeeper.pause('{"job": "free"}', 'ops', 'night', lockkeeper.now() + interval '1 s')`,
  },
  {
    name: 'register of a new version',
    sql: `select * from lockkeeper.register(races.definition('scan', '2'))`,
  },
  { name: 'collect_keys', sql: 'select lockkeeper.collect_keys()' },
  { name: 'end_overrides', sql: 'select lockkeeper.end_overrides()' },
];

/** Leases, and what nobody else does. */
export const keeping: Call[] = [
  { name: 'renew of b', sql: renew('b', 'load2.extract succeeded'), refused: leaseEnded },
  { name: 'renew of a that names little', sql: renew('a', 'load1.extract succeeded'), refused: leaseEnded },
  { name: 'reap', sql: 'select lockkeeper.reap()' },
  { name: 'sweep', sql: 'select * from lockkeeper.sweep(100)' },
  { name: 'expire', sql: 'select * from lockkeeper.expire(100)' },
  { name: 'close of a', sql: `select lockkeeper.close_lease(races.lease('a'))` },
  { name: 'close of b', sql: `select lockkeeper.close_lease(races.lease('b'))` },
  { name: 'open_lease', sql: `select lockkeeper.open_lease('d', 5, '${version('wide', '1')}')` },
  {
    name: 'serve',
    sql: `select lockkeeper.serve(races.lease('c'), '${version('load', '1')}')`,
    refused: leaseEnded,
  },
  { name: 'finish of b, which has run out', sql: finish('b', 'load2.extract succeeded') },
  { name: 'sleep_unserved', sql: 'select lockkeeper.sleep_unserved()' },
  { name: 'archive', sql: 'select * from lockkeeper.archive(100)' },
  { name: 'take_ticket_changes', sql: 'select * from lockkeeper.take_ticket_changes(100)' },
];

export const calls = [...flow, ...people, ...configuration, ...keeping];

const numbered = 5_505_019_530_000_000_000n;
const lock = (n: number, how: string) => `select pg_advisory_xact_lock${how}(${numbered + BigInt(n)})`;
const rowsOf = (what: string, where: string) =>
  `select from lockkeeper_data.${what} where ${where} for update`;

const row = {
  lease: (name: string): Gate => ({
    name: `the lease ${name}`,
    sql: rowsOf('leases', `id = races.lease('${name}')`),
  }),
  run: (name: string): Gate => ({
    name: `the run ${name}`,
    sql: rowsOf('runs', `id = races.run('${name}')`),
  }),
  waiting: (name: string): Gate => ({
    name: `the row of ${name} that waits`,
    sql: rowsOf('waiting', `run_id = races.run('${name}')`),
  }),
  lane: (name: string): Gate => ({
    name: `the lane of ${name}`,
    sql: `select from lockkeeper_data.lanes where id in (select w.lane_id from lockkeeper_data.waiting w
      where w.run_id = races.run('${name}')) for update`,
  }),
  key: (name: string): Gate => ({
    name: `the key ${name}`,
    sql: `select pg_advisory_xact_lock(${numbered} + (k.id & 2047)) from lockkeeper_data.keys k where k.name = '${name}'`,
  }),
  workers: (job: string): Gate => ({
    name: `the key of those who serve ${job}`,
    sql: `select pg_advisory_xact_lock(${numbered} + (v.workers_key & 2047))
      from lockkeeper_data.job_versions v where v.job = '${job}'`,
  }),
};

/** In the lock order. */
export const gates: Gate[] = [
  { name: 'the configuration', sql: lock(4_096, '') },
  { name: 'the configuration, shared', sql: lock(4_096, '_shared') },
  ...['a', 'b', 'c'].map(row.lease),
  ...['scan3', 'load3', 'free4', 'free5', 'branch1'].map(row.lane),
  ...[
    'load1',
    'scan1',
    'load2',
    'scan2',
    'slow1',
    'free3',
    'free4',
    'free5',
    'branch1',
    'new1',
    'failed',
  ].map(row.run),
  ...['scan2', 'free1', 'call1', 'ring1'].map(row.lane),
  ...['free4', 'new2', 'scan2'].map(row.waiting),
  ...['runs{default}', 'pool.warehouse', 'pool.api'].map(row.key),
  ...['scan', 'load', 'free', 'call'].map(row.workers),
];
