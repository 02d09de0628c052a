/**
 * The code in the documents is true. The `ts` blocks of a page are one program: it has the right types, and runs on a
 * database of its own; after it the `sql` blocks of the page run there, each by itself. `no-run` behind the language
 * leaves it at the types (ts), or to a test of its own (sql). Configurations and submissions are what is accepted.
 */

import { execFile } from 'node:child_process';
import { existsSync, mkdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { fileURLToPath } from 'node:url';
import { afterAll, expect, inject, test } from 'vitest';
import { readConfig } from '../../src/config.ts';
import { openDatabase } from '../../src/database.ts';
import { parseSubmission } from '../../src/schema.ts';
import { cloneTemplate } from '../support/template.ts';
import { type Block, blocksOf, pages, root } from './blocks.ts';

// Inside the repository, so that programs find their packages; the folder is not under version control.
const folder = fileURLToPath(new URL(`.lockkeeper/docs-${process.pid}/`, root));
mkdirSync(folder, { recursive: true });
afterAll(() => rmSync(folder, { recursive: true, force: true }));

const all = pages.flatMap(blocksOf);
const runs = ({ words }: Block) => !words.includes('no-run');
const of = (language: string) => (block: Block) => block.language === language;
const at = ({ page, line }: Block) => `${page}:${line}`;

/** `lockkeeper` is this repository. */
const fromSource = (text: string) =>
  text
    .replaceAll(/from (['"])lockkeeper\1/g, "from '../../src/index.ts'")
    .replaceAll(/from (['"])lockkeeper\/testing\1/g, "from '../../src/testing/index.ts'");

type Program = { file: string; text: string; runs: boolean };

/** The program of a page, and for each block that is not run the program up to it. */
function programsOf(page: string): Program[] {
  const name = page.replaceAll(/[^a-z0-9]+/gi, '-');
  const programs: Program[] = [];
  let before = '';
  for (const block of blocksOf(page).filter(of('ts'))) {
    const text = `${before}// ${at(block)}\n${fromSource(block.text)}\n`;
    if (runs(block)) before = text;
    else programs.push({ file: `${name}-${block.line}.ts`, text: `${text}export {};\n`, runs: false });
  }
  if (before !== '') programs.push({ file: `${name}.ts`, text: `${before}export {};\n`, runs: true });
  return programs;
}

function execute(command: string, args: string[], env = process.env): Promise<string> {
  const { promise, resolve } = Promise.withResolvers<string>();
  execFile(command, args, { cwd: folder, env, timeout: 60_000 }, (error, out, err) =>
    resolve(error ? `${error.message}\n${out}${err}` : ''),
  );
  return promise;
}

test('there are pages and blocks to look at', () => {
  expect(pages).toContain('docs/concepts.md');
  expect(all.filter(of('ts')).length).toBeGreaterThan(2);
  expect(all.filter(of('sql')).length).toBeGreaterThan(2);
});

test('every block says what it is', () => {
  const languages = ['', 'ts', 'js', 'sql', 'yaml', 'json', 'sh', 'ini', 'python', 'text', 'svg', 'mermaid'];
  expect(all.filter(({ language }) => !languages.includes(language)).map(at)).toEqual([]);
});

test('the programs have the right types', async () => {
  for (const { file, text } of pages.flatMap(programsOf)) writeFileSync(`${folder}${file}`, text);
  const compilerOptions = { noUnusedLocals: false, noUnusedParameters: false };
  writeFileSync(
    `${folder}tsconfig.json`,
    JSON.stringify({ extends: '../../tsconfig.json', compilerOptions, include: ['*.ts'] }),
  );
  const tsc = fileURLToPath(new URL('node_modules/typescript/bin/tsc', root));
  const said = await execute(process.execPath, [tsc, '--noEmit', '-p', 'tsconfig.json']);
  // What is wrong in src itself, `npm test` says before any test.
  expect(said.split('\n').filter((line) => /^[\w-]+\.ts\(/.test(line))).toEqual([]);
}, 120_000);

const running = pages.filter((page) =>
  blocksOf(page).some((block) => runs(block) && ['ts', 'sql'].includes(block.language)),
);

test.concurrent.each(running)(
  'what stands in %s runs',
  async (page) => {
    const clone = await cloneTemplate(inject('template'));
    try {
      for (const { file, text, runs } of programsOf(page)) {
        if (!runs) continue;
        writeFileSync(`${folder}run-${file}`, text);
        const env = { PATH: process.env.PATH, DATABASE_URL: clone.url, LOG_LEVEL: 'warn' };
        expect(await execute(process.execPath, [`run-${file}`], env), page).toBe('');
      }
      const sql = blocksOf(page).filter((block) => of('sql')(block) && runs(block));
      expect(await failures(clone.url, sql)).toEqual([]);
    } finally {
      await clone.drop();
    }
  },
  120_000,
);

/** Runs blocks of SQL, each in one go; afterwards the database must be sound. */
async function failures(url: string, blocks: Block[]): Promise<string[]> {
  const database = openDatabase({ connectionString: url, max: 1 });
  const failed: string[] = [];
  try {
    for (const block of blocks) {
      await database.pool
        .query(block.text)
        .catch((error: Error) => failed.push(`${at(block)}: ${error.message}`));
    }
    const { rows } = await database.execute('select violation, detail from lockkeeper.violations', []);
    return [...failed, ...rows.map((row) => JSON.stringify(row))];
  } finally {
    await database.close();
  }
}

const isConfiguration = ({ text }: Block) =>
  /^(concurrency|deployments|retention_days|branch_deployment_days):/m.test(text);

test('configurations are accepted', () => {
  const configurations = all.filter(of('yaml')).filter(runs).filter(isConfiguration);
  expect(configurations.length).toBeGreaterThan(0);
  for (const block of configurations) expect(() => readConfig(block.text), at(block)).not.toThrow();
});

test('JSON is JSON, and submissions are accepted', () => {
  for (const block of all.filter(of('json'))) {
    const values = [JSON.parse(block.text)].flat();
    for (const value of values) {
      if (typeof value?.job === 'string' && !('steps' in value))
        expect(() => parseSubmission(value), at(block)).not.toThrow();
    }
  }
});

test('links between the pages lead somewhere', () => {
  const broken = pages.flatMap((page) => {
    const links = readFileSync(new URL(page, root), 'utf8').matchAll(/\]\((?!https?:|#)([^)#\s]+)/g);
    return [...links].flatMap(([, to = '']) =>
      existsSync(new URL(to, new URL(page, root))) ? [] : [`${page}: ${to}`],
    );
  });
  expect(broken).toEqual([]);
});
