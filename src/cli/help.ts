/** What stands below the options in every command's help, and in docs/commands.md: examples, and what --json prints. */

import type { Command } from 'commander';

export type Explained = {
  /** Command lines without `lockkeeper` in front. */
  examples: readonly string[];
  /** The shape that --json prints; names and types stay. */
  json: string;
  /** What else there is to know. */
  more?: string;
  /** Exit codes that mean something of their own here. */
  exit?: string;
};

const known = new WeakMap<Command, Explained>();

/** Adds it to the command's help. */
export function explain(command: Command, explained: Explained): Command {
  known.set(command, explained);
  const { examples, json, more, exit } = explained;
  const parts = [
    ...(more ? [more] : []),
    saidExamples(examples),
    `With --json:\n${json.replaceAll(/^/gm, '  ')}`,
    ...(exit ? [`Exit codes: ${exit}`] : []),
  ];
  return command.addHelpText('after', `\n${parts.join('\n\n')}`);
}

/** What was said of a command; nothing of one that only has sub-commands. */
export function explanationOf(command: Command): Explained | undefined {
  return known.get(command);
}

/** Adds examples to the help of a command that only has sub-commands: the first of each. */
export function explainGroup(group: Command): void {
  const examples = group.commands.flatMap((each) => explanationOf(each)?.examples.slice(0, 1) ?? []);
  group.addHelpText('after', `\n${saidExamples(examples)}`);
}

/** Command lines, each on a line of its own. */
export function saidExamples(examples: readonly string[]): string {
  const lines = examples.map((each) => `  lockkeeper ${each}`);
  return `${lines.length === 1 ? 'Example' : 'Examples'}:\n${lines.join('\n')}`;
}
