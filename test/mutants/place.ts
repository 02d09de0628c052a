/** A scratch copy of the working tree, in which Vitest runs with a mutant. */

import { spawn } from 'node:child_process';
import {
  cpSync,
  existsSync,
  globSync,
  mkdtempSync,
  readFileSync,
  rmSync,
  symlinkSync,
  writeFileSync,
} from 'node:fs';
import { tmpdir } from 'node:os';
import { join, relative } from 'node:path';
import { type Mutant, mutated } from './mutant.ts';
import { type Outcome, outcomeOf, type Report } from './outcome.ts';

const root = join(import.meta.dirname, '../..');
const copied = [
  ...['src', 'sql', 'test', 'scripts', 'examples', 'docs', 'templates'],
  ...['package.json', 'tsconfig.json', 'vitest.config.ts', 'README.md', 'DESIGN.md', 'CHANGELOG.md'],
];

const fewFiles = 5;

export class Place {
  readonly folder: string;
  readonly #databaseUrl: string;

  /** A copy of the working tree as it is now, whose tests use this server. */
  constructor(databaseUrl: string) {
    this.#databaseUrl = databaseUrl;
    this.folder = mkdtempSync(join(tmpdir(), 'lockkeeper-mutants-'));
    for (const name of copied)
      if (existsSync(join(root, name)))
        cpSync(join(root, name), join(this.folder, name), { recursive: true });
    symlinkSync(join(root, 'node_modules'), join(this.folder, 'node_modules'), 'dir');
  }

  /** All test files, from the folder. */
  testFiles(): string[] {
    return globSync('test/**/*.test.ts', { cwd: this.folder })
      .map((path) => path.replaceAll('\\', '/'))
      .toSorted();
  }

  /** Runs `work` with the fault in its file, and puts the file back. */
  async with<T>(mutant: Mutant, work: () => Promise<T>): Promise<T> {
    const path = join(this.folder, mutant.file);
    const sound = readFileSync(path, 'utf8');
    writeFileSync(path, mutated(sound, mutant));
    try {
      return await work();
    } finally {
      writeFileSync(path, sound);
    }
  }

  /** Runs these test files until one test fails. */
  async test(files: readonly string[], signal: AbortSignal): Promise<Outcome> {
    const written = join(this.folder, 'report.json');
    rmSync(written, { force: true });
    // One after the other is enough for a few, and leaves the machine to the other mutants.
    const oneByOne = files.length > fewFiles ? [] : ['--no-file-parallelism'];
    const output = await this.#vitest(
      ['--bail=1', '--reporter=json', `--outputFile=${written}`, ...oneByOne, ...files],
      signal,
    );
    signal.throwIfAborted();
    const report = existsSync(written) ? (JSON.parse(readFileSync(written, 'utf8')) as Report) : undefined;
    const outcome = outcomeOf(report, output);
    return 'file' in outcome ? { ...outcome, file: relative(this.folder, outcome.file) } : outcome;
  }

  #vitest(args: string[], signal: AbortSignal): Promise<string> {
    const { promise, resolve, reject } = Promise.withResolvers<string>();
    const { VITEST: _, ...env } = process.env;
    const child = spawn(process.execPath, ['node_modules/vitest/vitest.mjs', 'run', ...args], {
      cwd: this.folder,
      env: { ...env, TEST_DATABASE_URL: this.#databaseUrl, NO_COLOR: '1' },
      signal,
      stdio: ['ignore', 'pipe', 'pipe'],
    });
    let output = '';
    for (const stream of [child.stdout, child.stderr]) stream.on('data', (text) => (output += text));
    child.on('error', (error) => (signal.aborted ? resolve(output) : reject(error)));
    child.on('close', () => resolve(output));
    return promise;
  }

  remove(): void {
    rmSync(this.folder, { recursive: true, force: true });
  }
}
