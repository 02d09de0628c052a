/** The fenced blocks of the documents. */

import { globSync, readFileSync } from 'node:fs';

/**
 * ```` ```ts no-run name ```` has the language ts; the words behind it say `no-run`, or a name by which a test of its
 * own asks for it.
 */
export type Block = { page: string; line: number; language: string; words: string[]; text: string };

export const root = new URL('../../', import.meta.url);

/** README.md and the pages of docs/. */
export const pages: string[] = ['README.md', ...globSync('docs/*.md', { cwd: root }).toSorted()].map((page) =>
  page.replaceAll('\\', '/'),
);

/** The blocks of a page, in their order. */
export function blocksOf(page: string): Block[] {
  const blocks: Block[] = [];
  let open: { block: Block; lines: string[] } | undefined;
  for (const [index, line] of readFileSync(new URL(page, root), 'utf8').split('\n').entries()) {
    const [, info] = /^```(.*)$/.exec(line) ?? [];
    if (info === undefined) {
      open?.lines.push(line);
    } else if (open) {
      blocks.push({ ...open.block, text: open.lines.join('\n') });
      open = undefined;
    } else {
      const [language = '', ...words] = info.trim().split(/\s+/);
      open = { block: { page, line: index + 1, language, words, text: '' }, lines: [] };
    }
  }
  if (open) throw new Error(`${page}:${open.block.line}: this block has no end`);
  return blocks;
}

/** The block of a page that has this name behind its language. */
export function blockNamed(page: string, name: string): string {
  const found = blocksOf(page).filter(({ words }) => words.includes(name));
  if (found.length !== 1) throw new Error(`${page} has ${found.length} blocks named ${name}`);
  return found[0]?.text ?? '';
}
