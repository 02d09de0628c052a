// Runs before every npm script: installs the locked dependencies when they are missing or others than the lock
// file names. Plain JavaScript for Node 20 without dependencies, since nothing is installed when it runs.
import { spawnSync } from 'node:child_process';
import { existsSync, mkdirSync, readFileSync, rmSync, statSync, writeFileSync } from 'node:fs';
import { fileURLToPath } from 'node:url';

const root = fileURLToPath(new URL('..', import.meta.url));
const lock = `${root}.lockkeeper/install.lock`;

/** What npm wrote at the end of its last complete install must be what the lock file asks for. */
function installed() {
  const written = `${root}node_modules/.package-lock.json`;
  if (!existsSync(written) || !existsSync(`${root}node_modules/.bin/node`)) return false;
  const has = JSON.parse(readFileSync(written, 'utf8')).packages;
  const wants = JSON.parse(readFileSync(`${root}package-lock.json`, 'utf8')).packages;
  const same = (name) =>
    has[name]?.version === wants[name]?.version && has[name]?.integrity === wants[name]?.integrity;
  return (
    Object.keys(has).every(same) &&
    Object.keys(wants).every(
      (name) => name === '' || wants[name].optional || wants[name].devOptional || same(name),
    )
  );
}

/** npm's own path when npm started us, so that the same npm does the work. */
function npmCi() {
  const npm = process.env.npm_execpath?.endsWith('npm-cli.js')
    ? [process.execPath, process.env.npm_execpath]
    : ['npm'];
  const [command, ...before] = npm;
  const args = [...before, 'ci', '--include=dev', '--include=optional', '--loglevel=error'];
  const done = spawnSync(command, args, {
    cwd: root,
    stdio: ['ignore', 2, 2],
    shell: process.platform === 'win32' && npm.length === 1,
  });
  if (done.status !== 0) {
    console.error(
      `lockkeeper: "npm ci" failed${done.error ? ` (${done.error.message})` : ''}. Its messages are above; run it by hand to see more.`,
    );
    process.exitCode = done.status || 1;
  }
}

const alive = (pid) => {
  try {
    process.kill(pid, 0);
    return true;
  } catch (error) {
    return error.code === 'EPERM';
  }
};

/** A lock left by a process that died is taken over. Numbers of processes are used again, so an old lock is too. */
function takeLock() {
  mkdirSync(`${root}.lockkeeper`, { recursive: true });
  try {
    writeFileSync(lock, String(process.pid), { flag: 'wx' });
    return true;
  } catch (error) {
    if (error.code !== 'EEXIST') throw error;
  }
  try {
    const owner = Number(readFileSync(lock, 'utf8'));
    const minutes = (Date.now() - statSync(lock).mtimeMs) / 60_000;
    if (owner ? !alive(owner) || minutes > 10 : minutes > 1) rmSync(lock);
  } catch (error) {
    if (error.code !== 'ENOENT') throw error;
  }
  return false;
}

const pause = new Int32Array(new SharedArrayBuffer(4));
let told = false;
while (!installed() && !process.exitCode) {
  if (takeLock()) {
    try {
      if (!installed()) {
        console.error('lockkeeper: installing the locked dependencies (npm ci) …');
        npmCi();
      }
    } finally {
      rmSync(lock, { force: true });
    }
    if (!process.exitCode && !installed()) {
      console.error(
        'lockkeeper: "npm ci" ended well, yet node_modules is not what package-lock.json names. Remove node_modules and try again.',
      );
      process.exitCode = 1;
    }
  } else {
    if (!told) console.error('lockkeeper: waiting for another process that installs the dependencies …');
    told = true;
    Atomics.wait(pause, 0, 0, 250);
  }
}
