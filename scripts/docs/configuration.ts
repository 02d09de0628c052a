/** docs/configuration.md, from the zod schemas, the comments of the option types and .env.example. */

import { readFileSync } from 'node:fs';
import { configSchema } from '../../src/config.ts';
import { code, generated, table } from './markdown.ts';
import { optionsIn, variablesIn } from './options.ts';
import { type Setting, schemaAt, settingsIn } from './settings.ts';

const root = new URL('../../', import.meta.url);
const textOf = (path: string) => readFileSync(new URL(path, root), 'utf8');

const intro = `# Configuration

The file \`lockkeeper.yaml\`. \`lockkeeper limits apply lockkeeper.yaml\` replaces all limits of the configuration at once, and what is live
counts at once. \`lockkeeper limits plan lockkeeper.yaml\` only says what would change. In a program: \`lockkeeper.limits.apply(object)\` and \`plan(object)\`.
Everything is optional, and what is left out is not limited. What is wrong is refused as a whole, and every wrong field is named.

\`\`\`yaml
concurrency:
  runs:
    max_concurrent_runs: 10
    tag_concurrency_limits:
      - { key: backfill, limit: 5 } # the runs that have the tag, together
      - { key: customer, value: acme, limit: 1 } # runs with this value
      - { key: customer, value: { applyLimitPerUniqueValue: true }, limit: 2 } # each value on its own
  pools:
    default_limit: 3
    limits:
      warehouse: 5
      api: { limit: 20, scope: deployment }
  executor:
    max_concurrent: 4
  branch_deployments:
    max_concurrent_branch_deployment_runs: 50
    max_concurrent_runs_per_branch_deployment: 5
    pools: { warehouse: 1 }
deployments:
  staging: { runs: { max_concurrent_runs: 2 } }
retention_days: 30
branch_deployment_days: 14
\`\`\``;

/** A limit of 0 starts nothing: the same as a pause. */
const zero = 'A limit of 0 starts nothing; it is refused inside a run, which could never end.';

const settingsTable = (settings: readonly Setting[]) =>
  table(
    ['setting', 'allowed', 'left out', 'meaning'],
    settings.map(({ path, allowed, leftOut, description }) => [code(path), allowed, leftOut, description]),
  );

const concurrency = (name: string) => schemaAt(configSchema, ['concurrency', name]);

function tagLimits(): Setting[] {
  const inRuns = settingsIn(schemaAt(concurrency('runs'), ['tag_concurrency_limits', '[]']));
  const inExecutor = settingsIn(schemaAt(concurrency('executor'), ['tag_concurrency_limits', '[]']));
  const other = inExecutor.filter(
    ({ path, allowed }) => inRuns.find((one) => one.path === path)?.allowed !== allowed,
  );
  return [...inRuns, ...other.map((one) => ({ ...one, description: `In \`executor\`. ${one.description}` }))];
}

function topLevel(): Setting[] {
  return settingsIn(configSchema).filter(({ path }) => !/^concurrency\.|\..*\./.test(path));
}

type Source = { title: string; text?: string; file: string; type: string; fields?: boolean };

const optionSources: Source[] = [
  {
    title: 'A submission',
    text: 'The third argument of `submit`. From SQL, pg-boss and files the same in snake_case, beside `job` (its name, must be there) and `input` (any JSON).',
    file: 'src/schema.ts',
    type: 'SubmitOptions',
    fields: true,
  },
  { title: 'A job', text: 'The second argument of `job`.', file: 'src/jobs.ts', type: 'JobOptions' },
  { title: '`executor` of a job', file: 'src/jobs/types.ts', type: 'ExecutorOptions' },
  {
    title: 'A step',
    text: 'The second argument of `step`, and of `job` with a handler.',
    file: 'src/jobs/types.ts',
    type: 'StepOptions',
  },
  { title: '`retry` of a step', file: 'src/jobs/types.ts', type: 'RetryOptions' },
  {
    title: 'A limit of your own',
    text: 'Of `lockkeeper.limits.set`, and as JSON of the SQL function `set_limit`.',
    file: 'src/limits/limits.ts',
    type: 'OwnLimit',
  },
  {
    title: 'A worker',
    text: 'Of `work` and `startWorker`; `--lease-ms` and so on of the commands.',
    file: 'src/worker/worker.ts',
    type: 'WorkerOptions',
  },
  {
    title: 'A process',
    text: 'Of `createLockkeeper`.',
    file: 'src/lockkeeper.ts',
    type: 'LockkeeperOptions',
  },
];

const snakeCase = (name: string) => name.replaceAll(/[A-Z]/g, (letter) => `_${letter.toLowerCase()}`);

function optionsSection({ title, text, file, type, fields = false }: Source): string {
  const options = optionsIn(textOf(file), type);
  const rows = options.map(({ name, type, description }) =>
    fields
      ? [code(name), code(snakeCase(name)), code(type), description]
      : [code(name), code(type), description],
  );
  const head = fields ? ['option', 'field', 'type', 'meaning'] : ['option', 'type', 'meaning'];
  return [`### ${title}`, text, table(head, rows)].filter((part) => part !== undefined).join('\n\n');
}

function variables(): string {
  const rows = variablesIn(textOf('.env.example')).map(({ name, description }) => [code(name), description]);
  return table(['variable', 'meaning'], rows);
}

/** The whole page. */
export function configurationPage(): string {
  const sections = ['runs', 'pools', 'executor', 'branch_deployments'].map(
    (name) => `## \`concurrency.${name}\`\n\n${settingsTable(settingsIn(concurrency(name)))}`,
  );
  return `${[
    generated,
    intro,
    zero,
    ...sections,
    `## One tag limit\n\n${settingsTable(tagLimits())}`,
    `## Top level\n\n${settingsTable(topLevel())}`,
    '## Options in TypeScript',
    ...optionSources.map(optionsSection),
    `## Variables of the process\n\nOf the commands and of the tests; a program gives its options itself. \`.env\` in the working directory is read, too.\n\n${variables()}`,
  ].join('\n\n')}\n`;
}
