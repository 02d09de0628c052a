/** What stands below the options in every command's help: an example, and what --json prints. */

import type { Command } from 'commander';

export type Explained = {
  /** Command lines without `lockkeeper` in front. */
  examples: readonly string[];
  /** The shape that --json prints; names and types stay. */
  json: string;
  /** What else there is to know. */
  more?: string;
};

export function explain(command: Command, { examples, json, more }: Explained): Command {
  const parts = [
    ...(more ? [more] : []),
    `${examples.length === 1 ? 'Example' : 'Examples'}:\n${examples.map((each) => `  lockkeeper ${each}`).join('\n')}`,
    `With --json:\n${json.replaceAll(/^/gm, '  ')}`,
  ];
  return command.addHelpText('after', `\n${parts.join('\n\n')}`);
}
