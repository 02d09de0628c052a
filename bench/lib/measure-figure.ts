/** A figure, measured in a process of its own, which is ended when a part takes too long and goes on behind that part. */

import { type ChildProcess, fork } from 'node:child_process';
import { once } from 'node:events';
import { fileURLToPath } from 'node:url';
import type { Figure } from '../types.ts';
import type { FigureOptions, FromFigure } from './messages.ts';
import { failure, type Known, together } from './parts.ts';
import type { MeasuredServer } from './server.ts';

const program = fileURLToPath(new URL('./figure.ts', import.meta.url));

type Asked = Omit<FigureOptions, 'known' | 'url'> & { server: MeasuredServer };

/** All lines of a figure. What could not be measured is a verdict that says why; it never throws for that. */
export async function measureFigure({ server, ...asked }: Asked): Promise<Figure> {
  let known: Known = { figure: { results: [], verdicts: [] }, through: [] };
  for (;;) {
    const measuring = new Measuring({ ...asked, url: server.url, known });
    const { figure, rest } = await measuring.ended();
    await server.clear(measuring.pid);
    if (figure) return figure;
    known = rest;
    if (!measuring.inPart) return known.figure;
  }
}

/** One process, and what it has told. */
class Measuring {
  readonly #process: ChildProcess;
  readonly #name: string;
  #known: Known;
  #part: string | undefined;
  #figure: Figure | undefined;
  #clock: NodeJS.Timeout | undefined;
  #late = 0;
  #began = performance.now();

  constructor(options: FigureOptions) {
    this.#name = options.name;
    this.#known = options.known;
    // Of a group of its own, so that all that it starts can be ended with it.
    this.#process = fork(program, [JSON.stringify(options)], { detached: true });
    this.#process.on('message', (message) => this.#hear(message as FromFigure));
  }

  get pid(): number {
    return this.#process.pid ?? 0;
  }

  /** Whether it ended in the middle of a part, and there may be others. */
  get inPart(): boolean {
    return this.#part !== undefined;
  }

  /** Resolves when it is gone: with the whole figure, or with what is known so far. */
  async ended(): Promise<{ figure: Figure | undefined; rest: Known }> {
    const [code, signal] = await once(this.#process, 'close');
    clearTimeout(this.#clock);
    this.#endGroup();
    if (this.#figure) return { figure: this.#figure, rest: this.#known };
    const reason =
      this.#late > 0 ? `not done within ${this.#late} s` : `its process ended with ${signal ?? code}`;
    const part = this.#part ?? 'all of it';
    console.error(`${this.#name}, ${part} could not be measured: ${reason}`);
    this.#add(part, failure(this.#name, part, reason));
    return { figure: undefined, rest: this.#known };
  }

  #hear(message: FromFigure): void {
    if (message.kind === 'begin') {
      this.#part = message.part;
      this.#began = performance.now();
      this.#clock = setTimeout(() => this.#tooLate(message.seconds), message.seconds * 1_000);
    } else if (message.kind === 'part') {
      clearTimeout(this.#clock);
      this.#part = undefined;
      this.#add(message.part, message.figure);
      const lasted = ((performance.now() - this.#began) / 1_000).toFixed(1);
      console.error(`${this.#name}: ${message.part}: ${lasted} s in all`);
    } else {
      this.#figure = message.figure;
    }
  }

  #tooLate(seconds: number): void {
    this.#late = seconds;
    this.#endGroup();
  }

  #add(part: string, figure: Figure): void {
    this.#known = {
      figure: together(this.#known.figure, figure),
      through: [...this.#known.through, part],
    };
  }

  /** Ends the process and all that it started; they may be gone already. */
  #endGroup(): void {
    try {
      process.kill(-this.pid, 'SIGKILL');
    } catch (error) {
      if ((error as NodeJS.ErrnoException).code !== 'ESRCH') throw error;
    }
  }
}
