// From an empty folder to a run that has succeeded, as somebody does it who meets Lockkeeper:
//
//   npm install lockkeeper-….tgz && npx lockkeeper init && npx lockkeeper dev
//
// Prints how long each command took. `node scripts/first-run.mjs [TARBALL]`; without one the clone is packed first.
// Plain JavaScript without dependencies: it runs on the Node that is to be tried, from 22.12 on.
import { execFileSync, spawn } from 'node:child_process';
import { chmodSync, mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join, resolve } from 'node:path';
import { setTimeout } from 'node:timers/promises';
import { fileURLToPath } from 'node:url';

const root = fileURLToPath(new URL('..', import.meta.url));
const patienceMs = 120_000;
const shell = process.platform === 'win32';
// Nothing of the clone: neither its database nor what npm tells its scripts.
const env = Object.fromEntries(
  Object.entries(process.env).filter(
    ([name]) => !/^(npm_(?!config_(registry|cache|userconfig)$)|INIT_CWD$|DATABASE_URL$)/i.test(name),
  ),
);
const folder = mkdtempSync(join(tmpdir(), 'lockkeeper-first-run-'));
chmodSync(folder, 0o755); // As a folder that somebody makes, which the user of the embedded Postgres may enter.
const run = (command, args, cwd = folder) =>
  execFileSync(command, args, { cwd, env, shell, encoding: 'utf8', stdio: ['ignore', 'pipe', 'inherit'] });

function pack() {
  const [packed] = Object.values(
    JSON.parse(run('npm', ['pack', '--json', '--pack-destination', folder], root)),
  );
  return join(folder, packed.filename);
}

/** Seconds since `from`, with one decimal. */
const since = (from) => ((performance.now() - from) / 1000).toFixed(1);

/** Whether `runs list` knows a run that has succeeded; not by npx, which would take half of the time. */
function succeeded() {
  const cli = join(folder, 'node_modules/lockkeeper/dist/cli/main.js');
  const args = [cli, 'runs', 'list', '--state', 'succeeded', '--json'];
  return JSON.parse(execFileSync(process.execPath, args, { cwd: folder, env })).runs.length > 0;
}

async function untilSucceeded(dev) {
  const until = performance.now() + patienceMs;
  while (dev.exitCode === null && performance.now() < until) {
    if (output.includes('lockkeeper runs') && succeeded()) return;
    await setTimeout(100);
  }
  throw new Error(
    `no run has succeeded; dev ${dev.exitCode === null ? 'still runs' : `ended with ${dev.exitCode}`}`,
  );
}

const tarball = process.argv[2] ? resolve(process.argv[2]) : pack();
let output = '';
let dev;
try {
  const begin = performance.now();
  run('npm', ['install', '--no-audit', '--no-fund', tarball]);
  const installed = since(begin);
  const initFrom = performance.now();
  run('npx', ['lockkeeper', 'init']);
  const initialised = since(initFrom);
  const devFrom = performance.now();
  dev = spawn('npx', ['lockkeeper', 'dev'], {
    cwd: folder,
    env,
    shell,
    stdio: ['ignore', 'pipe', 'pipe'],
    detached: !shell,
  });
  for (const stream of [dev.stdout, dev.stderr])
    stream.on('data', (data) => {
      output += data;
    });
  await untilSucceeded(dev);
  const ended = since(devFrom);
  console.log(
    `node ${process.versions.node}: install ${installed} s, init ${initialised} s, dev until a run has succeeded ${ended} s; together ${since(begin)} s`,
  );
} catch (error) {
  console.error(`${error.message}\n${output}`);
  process.exitCode = 1;
} finally {
  if (dev?.exitCode === null) {
    const ended = new Promise((done) => dev.once('close', done));
    process.kill(shell ? dev.pid : -dev.pid, 'SIGINT');
    await ended;
  }
  rmSync(folder, { recursive: true, force: true });
}
