import { type Command, Option } from 'commander';
import type { DeploymentKind } from '../limits/apply.ts';
import { answer, select, settingsOf, withLockkeeper } from './connect.ts';
import { explain } from './help.ts';
import type { Io } from './io.ts';
import { table } from './table.ts';
import { line } from './text.ts';

type DeploymentRow = { deployment: string; kind: DeploymentKind; created_at: Date };

export function addDeployments(program: Command, io: Io): void {
  const deployments = program.command('deployments').description('list and add deployments');
  addList(deployments, io);
  addAdd(deployments, io);
}

function addList(deployments: Command, io: Io): void {
  const command = deployments
    .command('list')
    .description('where runs are submitted')
    .action(async (_options: object, command: Command) => {
      const settings = settingsOf(command, io);
      const rows = await withLockkeeper(io, settings, (lockkeeper) =>
        select<DeploymentRow>(
          lockkeeper,
          'select deployment, kind, created_at from lockkeeper.deployments order by deployment',
        ),
      );
      const columns = [
        { head: 'DEPLOYMENT', of: (row: DeploymentRow) => row.deployment },
        { head: 'KIND', of: (row: DeploymentRow) => row.kind },
        { head: 'CREATED', of: (row: DeploymentRow) => row.created_at },
      ];
      answer(io, settings, { deployments: rows }, () => table(io, columns, rows));
    });
  explain(command, {
    examples: ['deployments list'],
    json: '{ "deployments": [{ "deployment": "default", "kind": "full", "created_at": "…" }] }',
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
