/**
 * Whose Lockkeeper: several live in one database, each in schemas of its own. All SQL says `lockkeeper` and
 * `lockkeeper_data`; for another schema its text is changed here, and nowhere else, before it is sent.
 */

import { createHash } from 'node:crypto';
import { InvalidInputError } from './errors.ts';

/** The schema that the SQL itself names. For it no text is changed. */
export const defaultSchema = 'lockkeeper';

/** Where the state of a Lockkeeper is, beside its schema. */
export const dataSchemaOf = (schema: string): string => `${schema}_data`;

/**
 * Answers the name if a Lockkeeper can live under it. Words of SQL are fine, since names are sent in quotes.
 * @throws {InvalidInputError}
 */
export function checkSchema(schema: string): string {
  const taken = /^(pg_.*|.*_data|public|information_schema)$/.test(schema);
  if (/^[a-z_][a-z0-9_]{0,54}$/.test(schema) && !taken) return schema;
  throw new InvalidInputError(`The schema ${JSON.stringify(schema)} cannot be Lockkeeper's.`, {
    hint: 'Allowed are 1 to 55 characters a-z, 0-9 and _, not beginning with a digit or pg_ and not ending in _data, and neither public nor information_schema (LOCKKEEPER_SCHEMA; the option `schema`).',
  });
}

/** Comes first in 2^63 numbers that others may use too; a Lockkeeper has 8,192 of them. */
const firstLock = 5_505_019_530_000_000_000n;
const locksEach = 8_192n;

/** Number 0 of a schema's advisory locks; two other schemas share theirs by chance of one in a million. */
function lockBase(schema: string): bigint {
  if (schema === defaultSchema) return firstLock;
  const hash = createHash('sha256').update(schema).digest().readUInt32BE() % 2 ** 20;
  return firstLock + locksEach * BigInt(hash + 1);
}

/**
 * Number `n` of a schema's advisory locks. Keys use 0 … 2047, configuration 4096, admission 4097, migration 4098,
 * pg-boss's maintenance 4099.
 */
export const lockNumber = (schema: string, n: number): string => String(lockBase(schema) + BigInt(n));

/** In quotes, since it may be a word of SQL. */
const nameFor = (schema: string, name: string) =>
  `"${name.toLowerCase().includes('lockkeeper_data') ? dataSchemaOf(schema) : schema}"`;

// A whole literal, then names before a point or after `schema`.
const inSource =
  /'(lockkeeper|lockkeeper_data)'|\blockkeeper_data\b|\blockkeeper(?=\.[a-z_%"])(?!\.(?:yaml\b|jobs\.))|(?<=\bschema (?:if not exists )?)lockkeeper\b/g;

/**
 * The text of a file of sql/, as it is for this schema: inside quotes too, since a statement may be made of texts. A
 * literal that is a name and nothing else stays one, without the quotes of a name.
 */
export function sourceFor(schema: string, text: string): string {
  if (schema === defaultSchema) return text;
  return text
    .replace(inSource, (name, literal?: string) =>
      literal ? nameFor(schema, name).replaceAll('"', "'") : nameFor(schema, name),
    )
    .replaceAll(String(firstLock), lockNumber(schema, 0));
}

// What is passed over, or one of the groups: a body in dollars, or a schema.
const inStatement = new RegExp(
  [
    String.raw`(?<![\w$])e'(?:[^'\\]|\\.|'')*'`,
    `'(?:[^']|'')*'`,
    String.raw`--[^\n]*`,
    String.raw`/\*[\s\S]*?\*/`,
    String.raw`(?<![\w$])(?<dollar>\$(?:[a-z_]\w*)?\$)[\s\S]*?\k<dollar>`,
    String.raw`(?<schema>"lockkeeper(?:_data)?"(?=\s*\.)|(?<![\w$.])lockkeeper(?:_data)?(?=\s*\.))`,
    String.raw`(?<=\bschema\s+(?:if\s+(?:not\s+)?exists\s+)?)(?<named>lockkeeper(?:_data)?)(?![\w$])`,
    '"(?:[^"]|"")*"',
  ].join('|'),
  'gi',
);

function rename(schema: string, text: string): string {
  return text.replace(inStatement, (part, dollar?: string, before?: string, after?: string) => {
    if (dollar !== undefined)
      return dollar + rename(schema, part.slice(dollar.length, -dollar.length)) + dollar;
    return (before ?? after) === undefined ? part : nameFor(schema, part);
  });
}

/** Most texts that are remembered; ours are about a hundred. */
const mostTexts = 1_000;
const known = new Map<string, (text: string) => string>();

/**
 * What changes a statement for this schema: the schemas where they stand before a point or after `schema`, in quotes
 * or not; texts, comments and values stay. Undefined for the schema that the SQL names: there is nothing to change.
 */
export function statementsFor(schema: string): ((text: string) => string) | undefined {
  if (schema === defaultSchema) return undefined;
  const change = known.get(schema) ?? remembering((text) => rename(schema, text));
  known.set(schema, change);
  return change;
}

function remembering(change: (text: string) => string): (text: string) => string {
  const texts = new Map<string, string>();
  return (text) => {
    const before = texts.get(text);
    if (before !== undefined) return before;
    const changed = change(text);
    if (texts.size >= mostTexts) texts.clear();
    texts.set(text, changed);
    return changed;
  };
}
