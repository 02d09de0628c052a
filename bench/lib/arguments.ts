/** What the command line of the bench asks for. */

import { parseArgs } from 'node:util';

export type Asked = {
  /** The figures, in the order in which the bench has them. */
  names: string[];
  quick: boolean;
  /** Where the results go as JSON. */
  json: string | undefined;
  /** Whether the page, its plots and its data are written to docs/bench. */
  docs: boolean;
};

/** @throws naming the argument that is wrong, and what is allowed. */
export function askedOf(args: readonly string[], known: readonly string[]): Asked {
  const { values, positionals } = parseArgs({
    args: [...args],
    allowPositionals: true,
    options: {
      quick: { type: 'boolean', default: false },
      json: { type: 'string' },
      docs: { type: 'boolean', default: false },
    },
  });
  const unknown = positionals.filter((name) => !known.includes(name));
  if (unknown.length > 0)
    throw new Error(
      `There is no figure ${unknown.join(', ')}; allowed: ${known.join(', ')}, or none for all.`,
    );
  const names = positionals.length === 0 ? [...known] : known.filter((name) => positionals.includes(name));
  return { names, quick: values.quick, json: values.json, docs: values.docs };
}
