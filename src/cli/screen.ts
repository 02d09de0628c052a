/** Text on a terminal that is drawn anew in its place. */

import { createLogUpdate } from 'log-update';

export type Screen = {
  /** Replaces what was drawn last. */
  draw(text: string): void;
  /** Prints a line above what is drawn; it stays. */
  keep(line: string): void;
  /** Leaves what was drawn last, or takes it away. */
  end(how: 'leave' | 'clear'): void;
  readonly columns: number;
  readonly rows: number;
};

/** A screen on a terminal's stream. */
export function screenOn(stream: NodeJS.WriteStream): Screen {
  const update = createLogUpdate(stream);
  let last = '';
  return {
    draw: (text) => {
      last = text;
      update(text);
    },
    keep: (line) => {
      update.persist(line);
      if (last !== '') update(last);
    },
    end: (how) => {
      if (how === 'clear') update.clear();
      update.done();
      last = '';
    },
    get columns() {
      return stream.columns || 80;
    },
    get rows() {
      return stream.rows || 24;
    },
  };
}
