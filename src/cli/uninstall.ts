import type { Command } from 'commander';
import { openDatabase } from '../database.ts';
import { type Uninstalled, type UninstallOptions, uninstall } from '../migrate/uninstall.ts';
import { answer, requireUrl, schemasOf, settingsOf } from './connect.ts';
import { Unsuccessful } from './failure.ts';
import { explain } from './help.ts';
import type { Io } from './io.ts';
import { progressOn } from './progress.ts';
import { line } from './text.ts';

type Options = { yes?: boolean; force?: boolean; pgBoss?: boolean };

export function addUninstall(program: Command, io: Io): void {
  const command = program
    .command('uninstall')
    .description('take Lockkeeper out of the database, with all runs and all history')
    .option('--yes', 'do it; without, only what would go is said')
    .option('--force', 'even while workers live; what they run is lost')
    .option('--pg-boss', "also drop pg-boss's schema, if it has no queue of anybody else")
    .action(async ({ yes = false, force, pgBoss }: Options, command: Command) => {
      const settings = settingsOf(command, io);
      const { schema, pgBossSchema } = schemasOf(io);
      const database = openDatabase({ connectionString: requireUrl(settings), schema, max: 2 });
      const progress = progressOn(io, 'uninstalling');
      const options: UninstallOptions = {
        pgBossSchema,
        pgBoss,
        // What would go can be looked at while workers live.
        force: force ?? !yes,
        dryRun: !yes,
        onProgress: (part, done, of) => progress.at(done, of, part),
      };
      const gone = await uninstall(database, options).finally(async () => {
        progress.end();
        await database.close();
      });
      answer(io, settings, plain(gone, yes), () => said(gone, yes));
      if (!yes && gone.schemas.length + gone.queues.length > 0)
        throw new Unsuccessful('Nothing was removed: add --yes to do it.');
    });
  explain(command, {
    more: `Its schemas and its three queues in pg-boss go, in one transaction; other queues and what is yours stay. It refuses while
workers live, and when a view or table of yours uses something of it.`,
    examples: ['uninstall', 'uninstall --yes', 'uninstall --yes --pg-boss'],
    json: `{ "removed": true, "schemas": ["lockkeeper", "lockkeeper_data"], "queues": ["lockkeeper.rejected", "lockkeeper.runs", "lockkeeper.submit"],
  "other_queues": [], "pg_boss": "kept", "live_workers": [] }
removed: false without --yes; then the rest is what would go. pg_boss: absent, kept or dropped.`,
    exit: '1 without --yes, if there is anything to remove',
  });
}

const plain = ({ schemas, queues, otherQueues, pgBoss, liveWorkers }: Uninstalled, yes: boolean) => ({
  removed: yes && schemas.length + queues.length > 0,
  schemas,
  queues,
  other_queues: otherQueues,
  pg_boss: pgBoss,
  live_workers: liveWorkers,
});

function said({ schemas, queues, otherQueues, pgBoss, liveWorkers }: Uninstalled, yes: boolean): string {
  if (schemas.length + queues.length === 0)
    return 'There is no Lockkeeper in this database: nothing to remove.';
  const removed = yes ? 'Removed' : 'Would remove';
  const boss = {
    absent: 'There is no pg-boss here.',
    kept: `pg-boss stays${otherQueues.length > 0 ? `, with ${otherQueues.length} queues of others` : ''}.`,
    dropped: `${removed} pg-boss.`,
  }[pgBoss];
  return [
    line`${removed} the schemas ${schemas}, with all runs and all history.`,
    line`${removed} the pg-boss queues ${queues}.`,
    boss,
    ...(liveWorkers.length > 0 ? [line`These workers live: ${liveWorkers}.`] : []),
  ].join('\n');
}
