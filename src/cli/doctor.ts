import type { Command } from 'commander';
import { openDatabase } from '../database.ts';
import { answer, requireUrl, type Settings, schemasOf, settingsOf } from './connect.ts';
import { checkAll, checkTickets } from './doctor/audit.ts';
import { type Finding, findings, ok, one, type Patient, type Status } from './doctor/finding.ts';
import { checkPassedOver } from './doctor/passed-over.ts';
import { checkPooler } from './doctor/pooler.ts';
import { checkBoss, checkDrift, checkSchema } from './doctor/schema.ts';
import {
  checkClock,
  checkConnections,
  checkIsolation,
  checkSettings,
  checkSnapshots,
  checkVersion,
} from './doctor/server.ts';
import { checkCoordinator, checkStoppedClock, checkViolations, checkWorkers } from './doctor/state.ts';
import { failureOf, Unsuccessful } from './failure.ts';
import { explain } from './help.ts';
import { coloursOf, type Io } from './io.ts';
import { progressOn } from './progress.ts';
import { line } from './text.ts';

export function addDoctor(program: Command, io: Io): void {
  const command = program
    .command('doctor')
    .description('look for what is wrong with the database, and say what to do')
    .option(
      '--quick',
      'leave out drift, violations and passed-over: the first makes the schemas anew, the others read all that is live',
    )
    .option(
      '--audit',
      'look through all runs, counters, slots, lanes and tickets, in slices that hold up nobody, however long it takes',
    )
    .option('--repair', 'with --audit: mend what it finds, and say for each what was wrong and what was done')
    .action(async (options: Options, command: Command) => {
      if (options.repair && !options.audit)
        command.error('error: --repair goes with --audit: it mends what the audit finds', { exitCode: 2 });
      const settings = settingsOf(command, io);
      const checks = await examine(io, settings, options);
      const failed = checks.some(({ status }) => status === 'fail');
      answer(io, settings, { ok: !failed, checks }, () => said(io, checks));
      if (failed) throw new Unsuccessful();
    });
  explain(command, {
    more: `Connection, version of Postgres, schema, drift (whether functions, views and tables are what this release makes, for
which they are made anew in a transaction that is rolled back), pg-boss, isolation level, clocks, poolers, connections,
settings, who keeps dead rows, violations, who asks for much at once and is passed over, whether somebody coordinates,
and workers that died. Nothing is changed, but by --repair.
The audit looks at the same as the check of violations, but to the end, and compares the tickets in pg-boss with the
queued runs. A coordinator does the same all the time, a slice every few seconds, and mends. To mend, all keys are
locked: for a moment nothing starts or ends.`,
    examples: ['doctor', 'doctor --quick --json', 'doctor --audit', 'doctor --audit --repair'],
    json: `{ "ok": false, "checks": [{ "check": "schema", "status": "fail", "message": "…", "hint": "Run \`lockkeeper migrate\`." }] }
status: ok, warn or fail. hint: what to do, or null. What --repair has mended is a warn of the check audit or tickets.`,
    exit: '1 if a check fails; warnings are 0, and so is what --repair has mended',
  });
}

type Options = { quick?: boolean; audit?: boolean; repair?: boolean };

type Check = [name: string, look: (patient: Patient) => Promise<Finding | Finding[]>];

const ofServer: Check[] = [
  ['postgres', checkVersion],
  ['isolation', checkIsolation],
  ['clock', checkClock],
  ['pooler', checkPooler],
  ['connections', checkConnections],
  ['settings', checkSettings],
  ['snapshots', checkSnapshots],
  ['pg-boss', checkBoss],
  ['schema', checkSchema],
];
/** These understand only the schema of this release. */
const ofState: Check[] = [
  ['drift', checkDrift],
  ['clock', checkStoppedClock],
  ['violations', checkViolations],
  ['passed-over', checkPassedOver],
  ['coordinator', checkCoordinator],
  ['workers', checkWorkers],
];

/** What takes long, or leaves work for autovacuum: nothing for every minute. */
const dear = new Set(['drift', 'violations', 'passed-over']);

async function examine(io: Io, settings: Settings, options: Options): Promise<Finding[]> {
  const { schema, pgBossSchema = 'pgboss' } = schemasOf(io);
  const connectionString = requireUrl(settings);
  const database = openDatabase({ connectionString, schema, max: 3, onError: () => {} });
  const patient = { database, pgBossSchema, source: sourceOf(io, settings) };
  const progress = progressOn(io, 'looking');
  const found: Finding[] = [];
  const all = ofServer.length + ofState.length + 1 + (options.audit ? 2 : 0);
  const audit: Check[] = [
    ['audit', (patient) => checkAll(patient, auditing)],
    ['tickets', (patient) => checkTickets(patient, auditing)],
  ];
  const auditing = {
    repairs: options.repair ?? false,
    onProgress: (where: string) => progress.at(found.length, all, where),
  };
  const look = async (checks: readonly Check[]) => {
    for (const [name, check] of checks) {
      progress.at(found.length, all, name);
      found.push(...(await findings(name, () => check(patient))));
    }
  };
  try {
    await look([['connection', checkConnection]]);
    if (found.some(({ status }) => status === 'fail')) return found;
    await look(ofServer);
    if (found.some(({ check, status }) => check === 'schema' && status === 'ok'))
      await look(chosen(options, audit));
    return found;
  } finally {
    progress.end();
    await database.close();
  }
}

/** The audit takes the place of the check of violations, which gives up after a while. */
function chosen({ quick = false, audit: whole = false }: Options, audit: Check[]): Check[] {
  const checks = ofState.filter(([name]) => !(quick && dear.has(name)));
  if (!whole) return checks;
  return [...checks.filter(([name]) => name !== 'violations'), ...audit];
}

async function checkConnection({ database, source }: Patient): Promise<Finding> {
  try {
    const { role, name } = await one<{ role: string; name: string }>(
      database,
      'select current_user::text as role, current_database()::text as name',
    );
    return ok('connection', line`database ${name} as ${role} (${source})`);
  } catch (error) {
    const { message, hint } = failureOf(error);
    return { check: 'connection', status: 'fail', message: `${message} (${source})`, hint: hint ?? null };
  }
}

function sourceOf(io: Io, { databaseUrl }: Settings): string {
  if (databaseUrl === undefined) return 'of the `lockkeeper dev` that runs here';
  return databaseUrl === io.env.DATABASE_URL ? 'DATABASE_URL' : '--database-url';
}

function said(io: Io, checks: readonly Finding[]): string {
  const colours = coloursOf(io);
  const paint: Record<Status, (text: string) => string> = {
    ok: colours.green,
    warn: colours.yellow,
    fail: colours.red,
  };
  const width = Math.max(...checks.map(({ check }) => check.length));
  const lines = checks.flatMap(({ check, status, message, hint }) => [
    `${paint[status](status.padEnd(4))}  ${check.padEnd(width)}  ${line`${message}`}`,
    ...(hint === null ? [] : [`${' '.repeat(width + 8)}${colours.dim('→')} ${line`${hint}`}`]),
  ]);
  const many = (status: Status) => checks.filter((each) => each.status === status).length;
  return [...lines, '', `${many('ok')} ok, ${many('warn')} to look at, ${many('fail')} failed`].join('\n');
}
