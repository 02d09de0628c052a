import { type Command, Option } from 'commander';
import type { DeploymentKind } from '../limits/apply.ts';
import { answer, select, settingsOf, withLockkeeper } from './connect.ts';
import { explain } from './help.ts';
import type { Io } from './io.ts';
import { table } from './table.ts';
import { line } from './text.ts';

type DeploymentRow = {
  deployment: string;
  kind: DeploymentKind;
  created_at: Date;
  ended_at: Date | null;
};

export function addDeployments(program: Command, io: Io): void {
  const deployments = program.command('deployments').description('list, add and delete deployments');
  addList(deployments, io);
  addAdd(deployments, io);
  addDelete(deployments, io);
}

function addList(deployments: Command, io: Io): void {
  const command = deployments
    .command('list')
    .description('where runs are submitted')
    .option('--all', 'also those that have ended')
    .action(async ({ all = false }: { all?: boolean }, command: Command) => {
      const settings = settingsOf(command, io);
      const rows = await withLockkeeper(io, settings, (lockkeeper) =>
        select<DeploymentRow>(
          lockkeeper,
          `select deployment, kind, created_at, ended_at from lockkeeper.deployments
           where ended_at is null or $1 order by deployment`,
          [all],
        ),
      );
      const columns = [
        { head: 'DEPLOYMENT', of: (row: DeploymentRow) => row.deployment },
        { head: 'KIND', of: (row: DeploymentRow) => row.kind },
        { head: 'CREATED', of: (row: DeploymentRow) => row.created_at },
        ...(all ? [{ head: 'ENDED', of: (row: DeploymentRow) => row.ended_at }] : []),
      ];
      answer(io, settings, { deployments: rows }, () => table(io, columns, rows));
    });
  explain(command, {
    more: 'A branch ends by itself when it has had no runs for a while (branch_deployment_days), and begins again with its next.',
    examples: ['deployments list', 'deployments list --all'],
    json: '{ "deployments": [{ "deployment": "default", "kind": "full", "created_at": "…", "ended_at": null }] }',
  });
}

function addAdd(deployments: Command, io: Io): void {
  const command = deployments
    .command('add')
    .description('add a deployment; repeated, it changes nothing')
    .argument('<name>')
    .addOption(
      new Option('--kind <kind>', 'full, or branch: limited by `branch_deployments`')
        .choices(['full', 'branch'])
        .makeOptionMandatory(),
    )
    .action(async (name: string, { kind }: { kind: DeploymentKind }, command: Command) => {
      const settings = settingsOf(command, io);
      await withLockkeeper(io, settings, (lockkeeper) => lockkeeper.addDeployment(name, kind));
      answer(
        io,
        settings,
        { deployment: name, kind },
        () => line`Deployment ${name} is there, of kind ${kind}.`,
      );
    });
  explain(command, {
    examples: ['deployments add pr-17 --kind branch'],
    json: '{ "deployment": "pr-17", "kind": "branch" }',
  });
}

type Queued = 'refuse' | 'cancel' | 'keep';

function addDelete(deployments: Command, io: Io): void {
  const command = deployments
    .command('delete')
    .description('end a deployment: it takes no more runs; what it has run stays to be seen')
    .argument('<name>')
    .addOption(
      new Option(
        '--queued <what>',
        'what becomes of its queued runs: refuse to delete it, cancel them, or keep them: they still run',
      )
        .choices(['refuse', 'cancel', 'keep'])
        .default('refuse'),
    )
    .action(async (name: string, { queued }: { queued: Queued }, command: Command) => {
      const settings = settingsOf(command, io);
      const canceled = await withLockkeeper(io, settings, (lockkeeper) =>
        lockkeeper.deleteDeployment(name, queued),
      );
      answer(io, settings, { deployment: name, canceled }, () =>
        [
          line`Deployment ${name} has ended: it takes no more runs.`,
          ...(canceled > 0 ? [line`${canceled} queued runs are canceled.`] : []),
        ].join('\n'),
      );
    });
  explain(command, {
    more: 'What runs goes on. `deployments add` takes it up again.',
    examples: ['deployments delete pr-17', 'deployments delete pr-17 --queued cancel'],
    json: '{ "deployment": "pr-17", "canceled": 3 }   canceled: how many queued runs were',
  });
}
