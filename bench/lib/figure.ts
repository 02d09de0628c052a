/** The process that measures one figure: what hangs or breaks in it is ended with it. */

import { figures } from '../figures/index.ts';
import type { FigureOptions, FromFigure } from './messages.ts';
import { failure, measureParts, messageOf, together } from './parts.ts';
import { withServerAt } from './server.ts';

const { name, url, known, ...given } = JSON.parse(process.argv[2] ?? '{}') as FigureOptions;

/** Resolves when the bench has it. */
const tell = (message: FromFigure) =>
  new Promise<void>((resolve) => process.send?.(message, undefined, undefined, () => resolve()));

// Without the bench there is nothing to measure for: it and all that it started end.
process.once('disconnect', () => process.kill(-process.pid, 'SIGKILL'));

await withServerAt(url, async (server) => {
  let figure = known.figure;
  try {
    const bench = await figures[name]?.();
    if (!bench) throw new Error(`The figure ${name} has no file.`);
    figure = await bench.run({
      ...given,
      server,
      say: (line) => console.error(`${name}: ${line}`),
      parts: async (parts) => {
        figure = await measureParts(name, given, known, parts, (message) => void tell(message));
        return figure;
      },
    });
  } catch (error) {
    console.error(`${name} could not be judged:`, error);
    figure = together(figure, failure(name, 'all of it', messageOf(error)));
  }
  await tell({ kind: 'end', figure });
});
process.removeAllListeners('disconnect');
// Some systems leave a timer or a connection behind.
process.exit(0);
