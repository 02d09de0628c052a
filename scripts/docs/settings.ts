/** Reads the settings off the zod schemas of the configuration, whose `meta` carries the texts. */

import type { z } from 'zod';
import { code } from './markdown.ts';

/** A row: the path below its section, what is allowed, what it means when left out, and what it does. */
export type Setting = { path: string; allowed: string; leftOut: string; description: string };

type Meta = {
  description?: string;
  leftOut?: string;
  allowed?: string;
  /** What stands for the user's own name in a path. */
  entry?: string;
  /** An object, and the short form that may stand for it. */
  forms?: z.ZodType[];
};

// What zod keeps of a schema; its own types have one for each kind.
type Def = {
  type: string;
  innerType?: z.ZodType;
  in?: z.ZodType;
  out?: z.ZodType;
  element?: z.ZodType;
  valueType?: z.ZodType;
  shape?: Record<string, z.ZodType>;
  entries?: Record<string, string>;
};
const defOf = (schema: z.ZodType) => schema._zod.def as unknown as Def;

/** The schema inside optional, nullable and transformed ones, with the texts of all of them, the outer first. */
function unwrap(schema: z.ZodType): { inner: z.ZodType; meta: Meta } {
  const meta = (schema.meta() ?? {}) as Meta;
  const def = defOf(schema);
  let next: z.ZodType | undefined;
  if (meta.forms === undefined && def.type === 'pipe')
    next = def.in && defOf(def.in).type === 'transform' ? def.out : def.in;
  if (def.type === 'optional' || def.type === 'nullable') next = def.innerType;
  if (next === undefined) return { inner: schema, meta };
  const below = unwrap(next);
  return { inner: below.inner, meta: { ...below.meta, ...meta } };
}

/** The schema of one setting of a block, by its path. */
export function schemaAt(schema: z.ZodType, path: readonly string[]): z.ZodType {
  return path.reduce((at, name) => {
    const def = defOf(unwrap(at).inner);
    const found = name === '[]' ? def.element : name === '*' ? def.valueType : def.shape?.[name];
    if (!found) throw new Error(`there is no ${name} in ${path.join('.')}`);
    return found;
  }, schema);
}

/** The names in a block. */
export function namesIn(schema: z.ZodType): string[] {
  return Object.keys(defOf(unwrap(schema).inner).shape ?? {});
}

/** The settings of a block, those of the user's own names too; lists have a row each, what is in them has not. */
export function settingsIn(block: z.ZodType, before = ''): Setting[] {
  return Object.entries(defOf(unwrap(block).inner).shape ?? {}).flatMap(([name, schema]) => {
    const { inner, meta } = unwrap(schema);
    const def = defOf(inner);
    const path = `${before}${name}`;
    if (def.type === 'object') return settingsIn(inner, `${path}.`);
    if (def.type !== 'map' || !def.valueType) return [rowOf(path, inner, meta)];
    const value = unwrap(def.valueType);
    const own = `${path}.${meta.entry ?? 'NAME'}`;
    return [rowOf(own, value.inner, { ...value.meta, ...meta }), ...inside(value, own)];
  });
}

/** The settings in the long form of a value. */
function inside({ inner, meta }: { inner: z.ZodType; meta: Meta }, path: string): Setting[] {
  const [long] = meta.forms ?? [inner];
  return long && namesIn(long).length > 0 ? settingsIn(long, `${path}.`) : [];
}

function rowOf(path: string, schema: z.ZodType, meta: Meta): Setting {
  return {
    path,
    allowed: allowedBy(schema, meta),
    leftOut: meta.leftOut ?? shortForm(meta)?.meta.leftOut ?? '',
    description: meta.description ?? '',
  };
}

function shortForm({ forms }: Meta) {
  const short = forms?.[1];
  return short && unwrap(short);
}

function allowedBy(schema: z.ZodType, meta: Meta): string {
  const def = defOf(schema);
  const [long] = meta.forms ?? [];
  const short = shortForm(meta);
  if (long && short)
    return `${allowedBy(short.inner, short.meta)}; or ${code(`{ ${namesIn(long).join(', ')} }`)}`;
  if (meta.allowed !== undefined) return meta.allowed;
  if (def.type === 'enum')
    return Object.values(def.entries ?? {})
      .map(code)
      .join(', ');
  if (def.type === 'boolean') return '`true`, `false`';
  if (def.type === 'array') return 'list of tag limits';
  if (def.type === 'object') return code(`{ ${namesIn(schema).join(', ')} }`);
  throw new Error(`nothing says what is allowed for a ${def.type}`);
}
