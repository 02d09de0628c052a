/** docs/commands.md: every command with its options, examples, exit codes and what --json prints. */

import type { Argument, Command, Option } from 'commander';
import { explanationOf } from '../../src/cli/help.ts';
import { about, programOf } from '../../src/cli/program.ts';
import { code, generated, table } from './markdown.ts';

/** The page. */
export function commandsPage(): string {
  const program = commandLine();
  const leaves = leavesOf(program);
  const parts = [
    generated,
    '# Commands',
    `\`lockkeeper COMMAND\` (\`npx lockkeeper\` where it is installed in a package; \`npm run lockkeeper --\` in the clone). Every command has \`--help\`, and \`--json\` prints what this page shows: names and types stay, new names may come. Data goes to standard output, errors and hints to standard error.`,
    fenced(about.trim()),
    table(['option of all commands', 'meaning'], program.options.map(optionRow)),
    table(
      ['command', 'what it does'],
      leaves.map((leaf) => [`[${code(nameOf(leaf))}](#${anchorOf(leaf)})`, leaf.description()]),
    ),
    ...leaves.flatMap(section),
  ];
  return `${parts.join('\n\n')}\n`;
}

/** The whole command line, connected to nothing. */
export function commandLine(): Command {
  return programOf({
    out: () => {},
    err: () => {},
    readStdin: async () => '',
    env: {},
    terminal: false,
    errTerminal: false,
    stopped: async () => {},
  });
}

/** The commands that do something, in the order of the help; not those that only have sub-commands. */
export function leavesOf(command: Command): Command[] {
  return command.commands.flatMap((each) => (each.commands.length === 0 ? [each] : leavesOf(each)));
}

/** `runs list` */
export function nameOf(command: Command): string {
  const { parent } = command;
  return parent?.parent ? `${nameOf(parent)} ${command.name()}` : command.name();
}

const anchorOf = (command: Command) => `lockkeeper-${nameOf(command).replaceAll(' ', '-')}`;

function section(command: Command): string[] {
  const explained = explanationOf(command);
  if (!explained) throw new Error(`${nameOf(command)} has no examples: call explain() where it is made.`);
  const { examples, json, more, exit } = explained;
  // What is laid out in columns stays so; anything else is prose.
  const laidOut = more !== undefined && / {2}/.test(more);
  const given = [...command.registeredArguments.map(argumentRow), ...command.options.map(optionRow)];
  return [
    `## lockkeeper ${nameOf(command)}`,
    `${sentence(command.description())}${more && !laidOut ? ` ${more.replaceAll('\n', ' ')}` : ''}`,
    ...(laidOut ? [fenced(more, 'text')] : []),
    fenced(`lockkeeper ${nameOf(command)} ${command.usage()}`.trim()),
    ...(given.length === 0 ? [] : [table(['argument or option', 'meaning'], given)]),
    fenced(examples.map((each) => `lockkeeper ${each}`).join('\n')),
    'With `--json`:',
    fenced(json, 'text'),
    ...(exit ? [`Exit codes: ${exit}.`] : []),
  ];
}

const sentence = (text: string) => `${text.charAt(0).toUpperCase()}${text.slice(1)}.`;
const fenced = (text: string, language = '') => `\`\`\`${language}\n${text}\n\`\`\``;

function argumentRow(argument: Argument): string[] {
  const name = `${argument.name()}${argument.variadic ? '...' : ''}`;
  const usual = argument.defaultValue === undefined ? '' : ` (default: ${argument.defaultValue})`;
  return [
    code(argument.required ? `<${name}>` : `[${name}]`),
    `${argument.description || 'its name'}${usual}`,
  ];
}

function optionRow({ flags, description, argChoices, defaultValue, mandatory, negate }: Option): string[] {
  const notes = [
    ...(argChoices ? [`one of ${argChoices.join(', ')}`] : []),
    ...(defaultValue === undefined || negate ? [] : [`default: ${defaultValue}`]),
    ...(mandatory ? ['must be given'] : []),
  ];
  return [code(flags), notes.length === 0 ? description : `${description} (${notes.join('; ')})`];
}
