/** Where the command line reads and writes: the process's own in main.ts, anything in tests. */

import pc from 'picocolors';
import type { Screen } from './screen.ts';

export type Io = {
  /** Writes a line to standard output. */
  out(line: string): void;
  /** Writes a line to standard error. */
  err(line: string): void;
  /** Everything that comes on standard input. */
  readStdin(): Promise<string>;
  env: Readonly<Record<string, string | undefined>>;
  /** Whether standard output is a terminal: only then there is colour. */
  terminal: boolean;
  /** The same of standard error. */
  errTerminal: boolean;
  /** A part of the terminal that is drawn anew, on standard output or standard error; none where that is no terminal. */
  screen?(on: 'out' | 'err'): Screen | undefined;
  /** Resolves when the process is told to stop (Ctrl-C, SIGTERM); from the first call on the process is not killed by it. */
  stopped(): Promise<void>;
};

export type Colours = ReturnType<typeof pc.createColors>;

/** For standard output. */
export function coloursOf(io: Pick<Io, 'terminal' | 'env'>): Colours {
  return pc.createColors(io.terminal && !io.env.NO_COLOR);
}

/** For standard error. */
export function errColoursOf(io: Io): Colours {
  return coloursOf({ ...io, terminal: io.errTerminal });
}
