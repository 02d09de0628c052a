/** A project of somebody who installs the package: packed as `npm pack` does, and installed by npm. */

import { execFile } from 'node:child_process';
import { cpSync, mkdirSync, mkdtempSync, readFileSync, realpathSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { promisify } from 'node:util';

const execute = promisify(execFile);
const root = fileURLToPath(new URL('../..', import.meta.url));
const compiler = join(root, 'node_modules/typescript/bin/tsc');

export type Consumer = {
  /** Everything, to be removed. */
  folder: string;
  /** Where the package is installed. */
  project: string;
  /** Paths inside the tarball, sorted. */
  packed: string[];
};

/** Standard output of a program that must end well; what it said otherwise is in the error. */
export async function run(
  file: string,
  args: readonly string[],
  cwd: string,
  env: Record<string, string> = {},
): Promise<string> {
  // npm tells its scripts where it works; those that start here work elsewhere.
  const own = Object.entries(process.env).filter(
    ([name]) =>
      !/^(npm_(?!config_(registry|cache|userconfig)$)|INIT_CWD$|VITEST|NODE_ENV$|DATABASE_URL$)/i.test(name),
  );
  try {
    return (await execute(file, args, { cwd, env: { ...Object.fromEntries(own), ...env } })).stdout;
  } catch (error) {
    const { stdout, stderr } = error as { stdout: string; stderr: string };
    throw new Error(`${[file, ...args].join(' ')}\n${stdout}${stderr}`, { cause: error });
  }
}

export const node = (args: readonly string[], cwd: string, env?: Record<string, string>) =>
  run(process.execPath, args, cwd, env);

/** The clone's compiler, on the tsconfig.json of a folder. */
export const tsc = (args: readonly string[], cwd: string) => node([compiler, ...args], cwd);

/** The npm that runs us, if one does. */
export function npm(args: readonly string[], cwd: string): Promise<string> {
  const script = process.env.npm_execpath?.endsWith('npm-cli.js') ? process.env.npm_execpath : undefined;
  return script ? node([script, ...args], cwd) : run('npm', args, cwd);
}

/** Packs the clone without writing into it, and installs the tarball in an empty project. */
export async function makeConsumer(): Promise<Consumer> {
  const folder = realpathSync(mkdtempSync(join(tmpdir(), 'lockkeeper-package-')));
  const project = join(folder, 'project');
  try {
    const { filename, files } = await pack(folder);
    await install(project, join(folder, filename));
    return { folder, project, packed: files.map(({ path }) => path).sort() };
  } catch (error) {
    rmSync(folder, { recursive: true });
    throw error;
  }
}

type Packed = { filename: string; files: { path: string }[] };

async function pack(folder: string): Promise<Packed> {
  const source = join(folder, 'source');
  await tsc(['-p', join(root, 'tsconfig.build.json'), '--outDir', join(source, 'dist')], root);
  const { files } = JSON.parse(readFileSync(join(root, 'package.json'), 'utf8')) as { files: string[] };
  const copied = ['package.json', 'README.md', 'LICENSE', ...files.filter((path) => path !== 'dist')];
  for (const path of copied) cpSync(join(root, path), join(source, path), { recursive: true });
  const said = await npm(['pack', '--json', '--ignore-scripts', '--pack-destination', folder], source);
  // npm 11 answers a list, npm 12 an object by the names of packages.
  const [packed] = Object.values(JSON.parse(said) as Record<string, Packed>);
  if (!packed) throw new Error(`npm pack answered ${said}`);
  return packed;
}

/**
 * The clone's lock file comes along, so that the same versions are installed as were tested, and nothing needs to be
 * fetched that the clone's own `npm ci` has not left in npm's cache. What is not needed npm takes out of it.
 */
async function install(project: string, tarball: string): Promise<void> {
  mkdirSync(project);
  const lock = JSON.parse(readFileSync(join(root, 'package-lock.json'), 'utf8'));
  const own = { name: 'consumer', version: '1.0.0', private: true, type: 'module' };
  lock.name = own.name;
  lock.packages[''] = own;
  writeFileSync(join(project, 'package.json'), JSON.stringify(own));
  writeFileSync(join(project, 'package-lock.json'), JSON.stringify(lock));
  const quietly = ['--prefer-offline', '--ignore-scripts', '--no-audit', '--no-fund', '--loglevel=error'];
  await npm(['install', tarball, '--omit=optional', ...quietly], project);
}
