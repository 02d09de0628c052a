/** The files of the house, as text. */

import { globSync, readFileSync } from 'node:fs';
import { relative } from 'node:path';

const root = `${import.meta.dirname}/../..`;

export type Source = { path: string; text: string };

/** Files by a pattern from the root of the repository, with `/` in their paths. */
export function sources(...patterns: string[]): Source[] {
  return patterns
    .flatMap((pattern) => globSync(pattern, { cwd: root }))
    .map((path) => path.replaceAll('\\', '/'))
    .toSorted()
    .map((path) => ({ path, text: readFileSync(`${root}/${path}`, 'utf8') }));
}

/** TypeScript without its comments; a line keeps its number. Good enough for code that biome has formatted. */
export function withoutComments(text: string): string {
  return text
    .replace(/\/\*[\s\S]*?\*\//g, (comment) => comment.replace(/[^\n]/g, ''))
    .replace(/(^|\s)\/\/[^\n]*/g, '$1');
}

/** `path:line: text` of every line that matches. */
export function linesWith({ path, text }: Source, pattern: RegExp): string[] {
  return text
    .split('\n')
    .flatMap((line, i) => (pattern.test(line) ? [`${path}:${i + 1}: ${line.trim()}`] : []));
}

/** The files that this one imports, as paths from the root; packages by their name. */
export function importsOf({ path, text }: Source): string[] {
  const found = withoutComments(text).matchAll(/(?:from|import)\s*\(?\s*'([^']+)'|new URL\('(\.[^']+\.ts)'/g);
  return [...found].map(([, name = '', file]) => {
    const to = file ?? name;
    return to.startsWith('.') ? relative(root, new URL(to, `file://${root}/${path}`).pathname) : to;
  });
}
