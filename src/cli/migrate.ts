import type { Command } from 'commander';
import { migrateDatabase } from '../lockkeeper.ts';
import type { Migrated } from '../migrate.ts';
import { answer, pgBossSchemaOf, requireUrl, settingsOf } from './connect.ts';
import { explain } from './help.ts';
import type { Io } from './io.ts';
import { line } from './text.ts';

type Options = { dryRun?: boolean; upgradePgBoss?: boolean };

export function addMigrate(program: Command, io: Io): void {
  const command = program
    .command('migrate')
    .description("bring the database to this release, pg-boss's schema too")
    .option('--dry-run', 'only say what would be done')
    .option('--upgrade-pg-boss', 'also upgrade an older pg-boss that is there')
    .action(async (options: Options, command: Command) => {
      const settings = settingsOf(command, io);
      const migrated = await migrateDatabase({
        connectionString: requireUrl(settings),
        pgBossSchema: pgBossSchemaOf(io),
        upgradePgBoss: options.upgradePgBoss,
        dryRun: options.dryRun,
      });
      const value = { ...migrated, dry_run: options.dryRun ?? false };
      answer(io, settings, value, () => said(migrated, value.dry_run));
    });
  explain(command, {
    more: 'Any number of processes may do it at once; repeated, it changes nothing.',
    examples: ['migrate --dry-run', 'migrate'],
    json: '{ "from": 0, "to": 1, "changed": true, "applied": ["001_schema.sql"], "dry_run": false }',
  });
}

function said({ from, to, changed, applied }: Migrated, dryRun: boolean): string {
  if (!changed) return line`Nothing to do: the database is at schema version ${to} of this release.`;
  const files = applied.length === 0 ? 'no table' : applied.join(', ');
  return dryRun
    ? line`Would migrate from schema version ${from} to ${to} (${files}) and replace functions and views.`
    : line`Migrated from schema version ${from} to ${to} (${files}); functions and views are replaced.`;
}
