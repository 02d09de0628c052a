import type { Command } from 'commander';
import { migrateDatabase } from '../migrate/database.ts';
import type { Migrated } from '../migrate.ts';
import { answer, requireUrl, schemasOf, settingsOf } from './connect.ts';
import { explain } from './help.ts';
import type { Io } from './io.ts';
import { progressOn } from './progress.ts';
import { line } from './text.ts';

type Options = { dryRun?: boolean; again?: boolean; upgradePgBoss?: boolean };

export function addMigrate(program: Command, io: Io): void {
  const command = program
    .command('migrate')
    .description("bring the database to this release, pg-boss's schema too")
    .option('--dry-run', 'only say what would be done')
    .option(
      '--again',
      'put functions and views in place anew, even if they are of this release: see `doctor`',
    )
    .option('--upgrade-pg-boss', 'also upgrade an older pg-boss that is there')
    .action(async (options: Options, command: Command) => {
      const settings = settingsOf(command, io);
      const progress = progressOn(io, 'migrating');
      const migrated = await migrateDatabase({
        connectionString: requireUrl(settings),
        ...schemasOf(io),
        ...options,
        onProgress: (part, done, of) => progress.at(done, of, part),
      }).finally(progress.end);
      const value = { ...migrated, dry_run: options.dryRun ?? false };
      answer(io, settings, value, () => said(migrated, value.dry_run));
    });
  explain(command, {
    more: 'Any number of processes may do it at once; repeated, it changes nothing.',
    examples: ['migrate --dry-run', 'migrate'],
    json: `{ "from": 0, "to": 1, "changed": true, "applied": ["001_schema.sql"], "dry_run": false }
from, to: the schema version found and reached. applied: the files of sql/tables that were applied, or would be.`,
  });
}

function said({ from, to, changed, applied }: Migrated, dryRun: boolean): string {
  if (!changed) return line`Nothing to do: the database is at schema version ${to} of this release.`;
  const files = applied.length === 0 ? 'no table' : applied.join(', ');
  return dryRun
    ? line`Would migrate from schema version ${from} to ${to} (${files}) and replace functions and views.`
    : line`Migrated from schema version ${from} to ${to} (${files}); functions and views are replaced.`;
}
