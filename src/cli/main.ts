#!/usr/bin/env node
/** `lockkeeper`: the process around the command line. */

import { text } from 'node:stream/consumers';
import type { Io } from './io.ts';
import { runCli } from './program.ts';
import { screenOn } from './screen.ts';

/** From the first call on: the first signal asks to stop, the second ends the process at once. */
function stopped(): Promise<void> {
  return new Promise((resolve) => {
    let asked = false;
    const onSignal = () => {
      if (asked) process.exit(1);
      asked = true;
      resolve();
    };
    process.on('SIGTERM', onSignal);
    process.on('SIGINT', onSignal);
  });
}

/** Answers what is wrong with `.env`; none at all is fine. What is set in the environment stays. */
function loadEnvironment(): Error | undefined {
  try {
    process.loadEnvFile('.env');
    return undefined;
  } catch (error) {
    return (error as NodeJS.ErrnoException).code === 'ENOENT' ? undefined : (error as Error);
  }
}

/** Whoever reads our output may have seen enough, such as `head`. */
process.stdout.on('error', (error: NodeJS.ErrnoException) => {
  process.exit(error.code === 'EPIPE' ? 0 : 1);
});

const broken = loadEnvironment();
const io: Io = {
  out: (line) => void process.stdout.write(`${line}\n`),
  err: (line) => void process.stderr.write(`${line}\n`),
  readStdin: () => text(process.stdin),
  env: process.env,
  terminal: process.stdout.isTTY === true,
  errTerminal: process.stderr.isTTY === true,
  screen: (on) => {
    const stream = on === 'out' ? process.stdout : process.stderr;
    return stream.isTTY && process.env.TERM !== 'dumb' ? screenOn(stream) : undefined;
  },
  stopped,
};
if (broken) io.err(`lockkeeper: .env cannot be read: ${broken.message}`);
const code = broken ? 1 : await runCli(process.argv.slice(2), io);
// Once all is written: nothing that is left over may keep the process alive.
process.stdout.write('', () => process.exit(code));
