/** The command line inside the test's process, and as a process of its own. */

import { type ChildProcess, spawn } from 'node:child_process';
import { once } from 'node:events';
import { fileURLToPath } from 'node:url';
import { runCli } from '../../src/cli/program.ts';

export type Said = {
  code: number | null;
  out: string;
  err: string;
  /** What was printed with --json. */
  json: Record<string, unknown>;
};

/** Runs command lines against this database; no environment variable but those given is seen. */
export function cliOn(url: string | undefined, env: Record<string, string> = {}) {
  return async (args: readonly string[], stdin = ''): Promise<Said> => {
    const out: string[] = [];
    const err: string[] = [];
    const code = await runCli(args, {
      out: (line) => out.push(line),
      err: (line) => err.push(line),
      readStdin: async () => stdin,
      env: { ...(url === undefined ? {} : { DATABASE_URL: url }), ...env },
      terminal: false,
      errTerminal: false,
      stopped: async () => undefined,
    });
    return saidOf(code, out.join('\n'), err.join('\n'));
  };
}

function saidOf(code: number | null, out: string, err: string): Said {
  return {
    code,
    out,
    err,
    get json() {
      return JSON.parse(out) as Record<string, unknown>;
    },
  };
}

const main = fileURLToPath(new URL('../../src/cli/main.ts', import.meta.url));

export type CliProcess = {
  child: ChildProcess;
  /** Waits until standard output holds this text; fails when the process ends before. */
  until(text: string): Promise<void>;
  /** What came on standard output so far. */
  out(): string;
  /** Waits for the end. */
  ended(): Promise<Said>;
};

/** The real thing, in a working directory; of the environment it gets what is given, and PATH. */
export function startCli(args: readonly string[], cwd: string, env: Record<string, string> = {}): CliProcess {
  const child = spawn(process.execPath, [main, ...args], {
    cwd,
    env: { PATH: process.env.PATH ?? '', ...env },
    stdio: ['ignore', 'pipe', 'pipe'],
  });
  let out = '';
  let err = '';
  child.stderr.on('data', (data) => {
    err += data;
  });
  child.stdout.on('data', (data) => {
    out += data;
  });
  const closed = once(child, 'close');
  const until = async (text: string) => {
    while (!out.includes(text)) {
      const [code] = await Promise.race([once(child.stdout, 'data').then(() => [undefined]), closed]);
      if (code !== undefined && !out.includes(text)) throw new Error(`ended with ${code}: ${out}${err}`);
    }
  };
  const ended = async () => {
    const [code] = await closed;
    return saidOf(code as number | null, out, err);
  };
  return { child, until, out: () => out, ended };
}
