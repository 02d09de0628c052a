/** How far something long is: a bar on standard error while it lasts, and only where that is a terminal. */

import { errColoursOf, type Io } from './io.ts';
import { cut, line } from './text.ts';

export type Progress = {
  /** `done` of `of` are done; `what` comes next. */
  at(done: number, of: number, what?: string): void;
  /** Takes the bar away. */
  end(): void;
};

const width = 24;

/** A bar with a title. */
export function progressOn(io: Io, title: string): Progress {
  const screen = io.screen?.('err');
  if (!screen) return { at: () => {}, end: () => {} };
  const { green, dim } = errColoursOf(io);
  return {
    at: (done, of, what = '') => {
      const full = of === 0 ? width : Math.floor((done / of) * width);
      const bar = `${green('█'.repeat(full))}${dim('░'.repeat(width - full))}`;
      const room = Math.max(10, screen.columns - title.length - width - 20);
      screen.draw(`${title}  ${bar} ${done} of ${of}  ${dim(cut(line`${what || ' '}`, room))}`);
    },
    end: () => screen.end('clear'),
  };
}
