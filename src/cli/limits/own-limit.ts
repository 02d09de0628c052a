/** A limit of the user's own, as it stands in a file. */

import { parseDocument } from 'yaml';
import { z } from 'zod';
import { InvalidInputError } from '../../errors.ts';
import { block, integer, mapOf, name, text } from '../../schema/fields.ts';
import { nearest, ProblemsError, problemsOf, says, shown } from '../../schema/problems.ts';

const known = ['deployment', 'deployment_kind', 'job', 'step', 'pool'];
const isAttribute = (value: string) => known.includes(value) || /^tag\.[A-Za-z0-9_./:-]+$/.test(value);

function attribute(more: readonly string[], instead: Readonly<Record<string, string>> = {}) {
  const allowed = [...known, ...more];
  return z
    .string({ error: says('the name of an attribute') })
    .refine((value) => isAttribute(value) || more.includes(value), {
      error: ({ input }) => {
        const value = String(input);
        if (Object.hasOwn(instead, value)) return instead[value];
        const near = nearest(value, allowed);
        const meant = near === undefined ? '' : ` Did you mean ${near}?`;
        return `${shown(value)} is no attribute.${meant} Allowed: ${allowed.join(', ')}, tag.KEY`;
      },
    });
}

const matchValue = z.custom<string | true>((value) => value === true || text.safeParse(value).success, {
  error: says('a text (in quotes, if it looks like a number), or true for any value'),
});

const matched = mapOf(
  attribute([], { run: 'one run cannot be matched; group by it instead: `per: [run]`' }),
  matchValue,
  'an object of attributes, each with a text or true',
).transform((match): Record<string, string | true> => Object.fromEntries(match));

const listOf = <V extends z.ZodType>(values: V, allowed: string) => z.array(values, { error: says(allowed) });

const number = integer(
  0,
  undefined,
  ', null for unlimited, or max_concurrent or tag.KEY for the number that is there',
);
const numberOf = z.string().refine((value) => /^(max_concurrent|tag\.[A-Za-z0-9_./:-]+)$/.test(value), {
  error: ({ input }) =>
    /^\d+$/.test(String(input))
      ? `${shown(input)} is a text; write it without quotes`
      : `${shown(input)} is no attribute with a number; allowed: max_concurrent, tag.KEY`,
});
const capacity = z.unknown().transform((input, context): number | string | null => {
  const result = (typeof input === 'string' ? numberOf : number.nullable()).safeParse(input);
  if (result.success) return result.data;
  for (const { message } of result.error.issues) context.addIssue({ code: 'custom', message });
  return z.NEVER;
});

const ownLimit = block({
  name: name.refine((value) => !/^(runs|pool|executor|branches|workers|paused)([.@{]|$)/.test(value), {
    error: ({ input }) =>
      `${shown(input)} is a name of the configuration's; choose one that does not begin with runs, pool, executor, branches, workers or paused`,
  }),
  counts: z.enum(['run', 'step'], { error: says('run or step') }),
  match: matched.nullish(),
  per: listOf(attribute(['run']), 'a list of attributes').nullish(),
  capacity,
  replaces: listOf(name, 'a list of names of limits').nullish(),
})
  .superRefine(({ counts, match, per }, context) => {
    if (counts !== 'run') return;
    const message = 'a run has no step; write `counts: step`';
    if (match && 'step' in match) context.addIssue({ code: 'custom', path: ['match', 'step'], message });
    const place = per?.indexOf('step') ?? -1;
    if (place >= 0) context.addIssue({ code: 'custom', path: ['per', place], message });
  })
  .superRefine(({ capacity, per }, context) => {
    if (typeof capacity !== 'string' || per?.some((each) => each === 'run' || each === capacity)) return;
    const message = `${capacity} gives the number only in a limit grouped by run or by it: \`per: [run]\``;
    context.addIssue({ code: 'custom', path: ['capacity'], message });
  })
  .transform(({ match, per, replaces, ...limit }) => ({
    ...limit,
    match: match ?? {},
    per: per ?? [],
    replaces: replaces ?? [],
  }));

/** A limit as SQL takes it. */
export type OwnLimitInput = z.output<typeof ownLimit>;

/**
 * The limits of a file, one or a list.
 * @throws {InvalidInputError} that names the file, the limit and the field.
 */
export function readOwnLimits(file: string, content: string): OwnLimitInput[] {
  const value = yamlValue(file, content);
  const values = Array.isArray(value) ? value : [value];
  if (values.length === 0) throw new InvalidInputError(`${file}: there is no limit in it.`);
  const limits = values.map((each, i) => {
    const result = ownLimit.safeParse(each);
    if (result.success) return result.data;
    throw new ProblemsError(`Limit ${i + 1} of ${file}`, problemsOf(result.error, 'the limit'));
  });
  const names = limits.map((limit) => limit.name);
  const again = names.findIndex((each, i) => names.indexOf(each) < i);
  if (again >= 0)
    throw new ProblemsError(`Limit ${again + 1} of ${file}`, [
      {
        field: 'name',
        message: `${shown(names[again])} is that of limit ${names.indexOf(names[again] ?? '') + 1} too`,
      },
    ]);
  return limits;
}

function yamlValue(file: string, content: string): unknown {
  const document = parseDocument(content, { merge: true, stringKeys: true });
  const [problem] = [...document.errors, ...document.warnings];
  if (problem) throw new InvalidInputError(`${file}: ${problem.message.split('\n')[0]}`, { cause: problem });
  try {
    return document.toJS();
  } catch (error) {
    throw new InvalidInputError(`${file}: ${(error as Error).message}`, { cause: error });
  }
}
