/** docs/sql-reference.md, from the comments of a migrated database and of src/errors.ts. */

import { readFileSync } from 'node:fs';
import type { Executor } from '../../src/database.ts';
import { code, generated, table } from './markdown.ts';

type Function = { name: string; parameters: string; result: string; comment: string };
type Column = { name: string; type: string; comment: string | null };
type View = { name: string; comment: string; columns: Column[] };

const functions = `
  select p.proname as name, pg_get_function_arguments(p.oid) as parameters,
         pg_get_function_result(p.oid) as result, obj_description(p.oid, 'pg_proc') as comment
  from pg_proc p where p.pronamespace = 'lockkeeper'::regnamespace order by 1`;

const views = `
  select c.relname as name, obj_description(c.oid, 'pg_class') as comment,
         (select json_agg(json_build_object('name', a.attname, 'type', format_type(a.atttypid, a.atttypmod),
                                            'comment', col_description(c.oid, a.attnum)) order by a.attnum)
          from pg_attribute a where a.attrelid = c.oid and a.attnum > 0 and not a.attisdropped) as columns
  from pg_class c where c.relnamespace = 'lockkeeper'::regnamespace and c.relkind = 'v' order by 1`;

/** Who calls a function. What is in no other part is for everybody. */
const parts: { title: string; text: string; of: (name: string) => boolean }[] = [
  {
    title: 'For a worker',
    text: 'How a worker in any language lives: `register`, `open_lease`, then `claim`, `finish` and `renew_lease` until `close_lease`.',
    of: (name) => /^(register|serve|claim|finish|progress|\w+_lease)$/.test(name),
  },
  {
    title: 'For a coordinator',
    text: 'What a tick calls, until nothing is left to do. Each is one autocommit call.',
    of: (name) =>
      /^(todo|lane|admit|reap|sweep|sleep_unserved|collect_keys|expire|cancel_queued|archive|drop_history|audit\w*|repair\w*|\w*ticket\w*|\w*end_branches|end_\w+)$/.test(
        name,
      ),
  },
  {
    title: 'Time',
    text: 'The clock of a test database can be stopped and moved; of any other it cannot.',
    of: (name) => /(^now|_clock)$/.test(name),
  },
];

/** As one would write it: short names of types, no casts, and what comes out behind the arrow. */
function signature({ name, parameters, result }: Function): string {
  const short = (text: string) =>
    text
      .replaceAll('timestamp with time zone', 'timestamptz')
      .replaceAll(/::\w+(\[\])?/g, '')
      .replaceAll(/ DEFAULT /g, ' default ')
      .replaceAll('NULL', 'null')
      .replace(/^TABLE/, 'table')
      .replace(/^SETOF/, 'setof');
  const all = parameters.split(', ').map(short);
  const out = all.filter((parameter) => parameter.startsWith('OUT '));
  const into = all.filter((parameter) => !parameter.startsWith('OUT '));
  const answer = out.length === 0 ? short(result) : `(${out.map((each) => each.slice(4)).join(', ')})`;
  return `${name}(${into.join(', ')}) → ${answer}`;
}

const functionText = (one: Function) =>
  `### \`${one.name}\`\n\n\`\`\`text\n${signature(one)}\n\`\`\`\n\n${one.comment}`;

function viewText({ name, comment, columns }: View): string {
  const withComments = columns.some((column) => column.comment !== null);
  const rows = columns.map((column) => [
    code(column.name),
    column.type.replace('timestamp with time zone', 'timestamptz'),
    ...(withComments ? [column.comment ?? ''] : []),
  ]);
  const head = ['column', 'type', ...(withComments ? ['meaning'] : [])];
  return `### \`${name}\`\n\n${comment}\n\n${table(head, rows)}`;
}

/** The classes of src/errors.ts, each with its SQLSTATE and its comment. */
function errors(): string {
  const text = readFileSync(new URL('../../src/errors.ts', import.meta.url), 'utf8');
  const found = text.matchAll(
    /\/\*\* ([^*]+) \*\/\nexport class (\w+) extends LockkeeperError \{\n {2}override readonly code = '(\w+)'/g,
  );
  const rows = [...found].map(([, comment = '', name = '', state = '']) => [
    code(state),
    code(name),
    comment,
  ]);
  return table(['SQLSTATE', 'class in TypeScript', 'meaning'], rows);
}

const intro = `# SQL reference

Everything that stands in schema \`lockkeeper\`: functions write, views answer. A function that locks is one autocommit call, at READ COMMITTED.
Run ids are \`bigint\` (strings in TypeScript). A step is \`(run_id, place)\`, \`place\` counted from 1 in the order of the job; place 0 is the run itself.
Schema \`lockkeeper_data\` is private and changes with every release.`;

/** The whole page, of the database that \`execute\` speaks to. */
export async function sqlReferencePage(execute: Executor): Promise<string> {
  const all = (await execute(functions, [])).rows as Function[];
  const partOf = (name: string) => parts.find(({ of }) => of(name));
  const sections = parts.map((part) => {
    const own = all.filter(({ name }) => partOf(name) === part);
    return [`## ${part.title}`, part.text, ...own.map(functionText)].join('\n\n');
  });
  const everybody = all.filter(({ name }) => !partOf(name));
  const found = (await execute(views, [])).rows as View[];
  return `${[
    generated,
    intro,
    '## Functions',
    ...everybody.map(functionText),
    '## Views',
    ...found.map(viewText),
    ...sections,
    `## Errors\n\n${errors()}`,
  ].join('\n\n')}\n`;
}
