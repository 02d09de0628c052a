/** On what it was measured: figures mean nothing without. */

import { execFile } from 'node:child_process';
import { cpus, release, totalmem, type } from 'node:os';
import { promisify } from 'node:util';
import { allSystems } from '../systems/index.ts';
import type { MeasuredServer } from './server.ts';

const execute = promisify(execFile);

/** A name and what it is, for people. */
export type Machine = Readonly<Record<string, string>>;

/** The machine, the server, the programs and the moment. */
export async function machineOf(server: MeasuredServer): Promise<Machine> {
  const [cpu] = cpus();
  const systems = await allSystems();
  const versions = new Map(systems.map(({ name, version }) => [name.split(',')[0], version]));
  const { server_version, ...settings } = server.settings;
  return {
    processor: `${cpu?.model.trim() ?? 'unknown'}, ${cpus().length} cores`,
    memory: `${(totalmem() / 2 ** 30).toFixed(1)} GiB`,
    system: `${type()} ${release()}`,
    Node: process.version,
    Postgres: server_version ?? 'unknown',
    settings: Object.entries(settings)
      .map(([name, value]) => `${name} ${value}`)
      .join(', '),
    versions: [...versions].map(([name, version]) => `${name} ${version}`).join(', '),
    commit: await commit(),
    date: new Date().toISOString().slice(0, 16).replace('T', ' '),
  };
}

async function commit(): Promise<string> {
  try {
    const git = (...args: string[]) => execute('git', args, { cwd: import.meta.dirname });
    const { stdout: hash } = await git('rev-parse', '--short=12', 'HEAD');
    // What the page itself changes is no change of what was measured.
    const { stdout: changed } = await git('status', '--porcelain', '--', ':/', ':!/docs/bench');
    return `${hash.trim()}${changed.trim() === '' ? '' : ', with changes'}`;
  } catch {
    return 'unknown: not a git repository';
  }
}
