/** Reads options and their comments off the types in src, which editors show too. */

/** One member of a type: what may be left out has a question mark in `required`'s place. */
export type Option = { name: string; required: boolean; type: string; description: string };

/** The members of `export type NAME = { … };` in a file's text, in their order. */
export function optionsIn(text: string, name: string): Option[] {
  const start = text.search(new RegExp(`export type ${name}\\b`));
  if (start < 0) throw new Error(`there is no type ${name}`);
  const body = text.slice(text.indexOf('= {', start) + 3, text.indexOf('\n};', start));
  const members = body.matchAll(/(?:\/\*\*((?:(?!\*\/)[\s\S])*)\*\/\s*)?\b(\w+)(\?)?: ([^;]+);/g);
  return [...members].map(([, comment = '', member = '', optional, type = '']) => ({
    name: member,
    required: optional === undefined,
    type: type.replace(/\s*\|\s*undefined$/, '').replaceAll(/\s+/g, ' '),
    description: comment.replaceAll(/\s*\n\s*\*\s?/g, ' ').trim(),
  }));
}

/** A variable of `.env.example`: its name, the example, and the comment above it. */
export type Variable = { name: string; example: string; description: string };

/** The variables of `.env.example`, in their order. */
export function variablesIn(text: string): Variable[] {
  const variables: Variable[] = [];
  let comment: string[] = [];
  for (const line of text.split('\n')) {
    const [, name, example] = /^#?([A-Z][A-Z0-9_]+)=(.*)$/.exec(line) ?? [];
    if (name !== undefined && example !== undefined) {
      variables.push({ name, example, description: comment.join(' ') });
      comment = [];
    } else if (line.startsWith('# ')) comment.push(line.slice(2));
    else comment = [];
  }
  return variables;
}
