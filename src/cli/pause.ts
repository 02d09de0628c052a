/** `pause` and `resume`: nothing new starts that matches, whether it has a limit or not. */

import { type Command, Option } from 'commander';
import { InvalidInputError } from '../errors.ts';
import type { Lockkeeper } from '../lockkeeper.ts';
import { nearest } from '../schema/problems.ts';
import { tag } from './arguments.ts';
import { answer, select, settingsOf, withLockkeeper } from './connect.ts';
import { explain } from './help.ts';
import { errColoursOf, type Io } from './io.ts';
import { addReason, authorOf, type ReasonOptions, reasonOf } from './limits/reason.ts';
import { type LimitRow, readLimits, saidReason, shownMatch } from './limits/rows.ts';
import { line } from './text.ts';

type Selectors = {
  job?: string;
  deployment?: string;
  pool?: string;
  tag?: Record<string, string>;
  all?: boolean;
};
type Counts = 'run' | 'step';
type PauseOptions = Selectors & ReasonOptions & { runsOnly?: boolean; stepsOnly?: boolean };

/** A pause in force, as --json prints it. */
type Paused = Pick<LimitRow, 'override_by' | 'override_why' | 'override_at' | 'override_until'> & {
  name: string;
  match: Record<string, string>;
  counts: readonly Counts[];
};

const selectors = `Selectors may be combined: what matches all of them is paused. --tag is a tag of the run for admission, and of the
step for its start. A job, deployment or tag holds back admission and steps; a pool only steps, since a run that uses it
later may well begin.`;

export function addPause(program: Command, io: Io): void {
  const command = addReason(
    addSelectors(program.command('pause').description('start nothing new of a job, deployment, pool or tag')),
  )
    .addOption(
      new Option('--runs-only', 'only admission: steps of admitted runs start').conflicts('stepsOnly'),
    )
    .option('--steps-only', 'only steps: runs are admitted')
    .action(async (options: PauseOptions, command: Command) => {
      const match = matchOf(command, options);
      const counts = countsOf(options);
      const by = authorOf(io, command, options);
      const settings = settingsOf(command, io);
      const paused = await withLockkeeper(io, settings, async (lockkeeper) => {
        for (const warning of await unknownNames(lockkeeper, options))
          io.err(`${errColoursOf(io).yellow('warning:')} ${warning}`);
        const reason = await reasonOf(lockkeeper, by, options);
        const name = await lockkeeper.limits.pause(match, { ...reason, counts });
        return pausedAs(lockkeeper, name, match, counts);
      });
      answer(io, settings, paused, () => saidPaused(paused, options));
    });
  explain(command, {
    more: `${selectors}
What runs goes on. The same selectors again replace the pause that was there. What a limit counts,
\`lockkeeper limits pause NAME\` pauses.`,
    examples: [
      "pause --job load --why 'the source is down' --for 2h",
      "pause --pool warehouse --deployment pr-17 --why 'too many sessions'",
      'pause --all --why maintenance --until 2026-01-31T06:00:00Z --by ana',
    ],
    json: `{ "name": "paused.job=load", "match": { "job": "load" }, "counts": ["run", "step"],
  "override_by": "ana", "override_why": "…", "override_at": "…", "override_until": null }
name: as why and limits list show it; of steps it is paused.steps.job=load.`,
  });
}

export function addResume(program: Command, io: Io): void {
  const command = addSelectors(
    program.command('resume').description('end the pause that was made with these selectors'),
  ).action(async (options: Selectors, command: Command) => {
    const match = matchOf(command, options);
    const settings = settingsOf(command, io);
    await withLockkeeper(io, settings, async (lockkeeper) => {
      if (!(await lockkeeper.limits.resume(match))) throw await noPause(lockkeeper, match);
    });
    const what = Object.keys(match).length === 0 ? 'Everything' : `What is of ${shownMatch(match)}`;
    answer(io, settings, { match, resumed: true }, () => line`${what} starts again, as the limits allow.`);
  });
  explain(command, {
    more: 'Exactly these selectors: other pauses stay, also those that hold back some of the same. No such pause is an error.',
    examples: ['resume --job load', 'resume --pool warehouse --deployment pr-17', 'resume --all'],
    json: '{ "match": { "job": "load" }, "resumed": true }',
  });
}

function addSelectors(command: Command): Command {
  return command
    .option('--job <job>', 'of this job')
    .option('--deployment <name>', 'in this deployment')
    .option('--pool <pool>', 'that uses this pool')
    .option('--tag <key=value>', 'with this tag; may be repeated', tag)
    .addOption(new Option('--all', 'everything').conflicts(['job', 'deployment', 'pool', 'tag']));
}

function matchOf(command: Command, { job, deployment, pool, tag: tags = {}, all }: Selectors) {
  const given = Object.entries({ job, deployment, pool }).filter(([, value]) => value !== undefined);
  const ofTags = Object.entries(tags).map(([key, value]) => [`tag.${key}`, value]);
  const match = Object.fromEntries([...given, ...ofTags]) as Record<string, string>;
  if (Object.keys(match).length === 0 && !all)
    command.error('error: say what: --job, --deployment, --pool, --tag, or --all', { exitCode: 2 });
  return match;
}

function countsOf({ pool, runsOnly, stepsOnly }: PauseOptions): readonly Counts[] {
  if (runsOnly) return ['run'];
  return stepsOnly || pool !== undefined ? ['step'] : ['run', 'step'];
}

/** A slip in a name would pause nothing, and look as if it did; but what is to come may be paused too. */
async function unknownNames(lockkeeper: Lockkeeper, options: Selectors): Promise<string[]> {
  const known = await select<{ kind: 'job' | 'deployment' | 'pool'; name: string }>(
    lockkeeper,
    `select 'job' as kind, job as name from lockkeeper.jobs
     union all select 'deployment', deployment from lockkeeper.deployments where ended_at is null
     union all select distinct 'pool', p from lockkeeper.jobs, jsonb_object_keys(pools) p`,
  );
  return (['job', 'deployment', 'pool'] as const).flatMap((kind) => {
    const name = options[kind];
    const names = known.filter((each) => each.kind === kind).map((each) => each.name);
    if (name === undefined || names.includes(name)) return [];
    const near = nearest(name, names);
    return [line`there is no ${kind} ${name} so far.${near === undefined ? '' : ` Did you mean ${near}?`}`];
  });
}

async function pausedAs(
  lockkeeper: Lockkeeper,
  name: string,
  match: Record<string, string>,
  counts: readonly Counts[],
): Promise<Paused> {
  const [row] = await select<Pick<Paused, 'override_by' | 'override_why' | 'override_at' | 'override_until'>>(
    lockkeeper,
    `select override_by, override_why, override_at, override_until from lockkeeper.limits
     where source = 'pause' and match = $1::jsonb limit 1`,
    [JSON.stringify(match)],
  );
  if (!row) throw new InvalidInputError(`${name} was resumed by somebody else at this moment.`);
  return { name, match, counts, ...row };
}

const sentences = {
  'run,step': 'no run is admitted and no step starts',
  run: 'no run is admitted',
  step: 'no step starts',
};

function saidPaused(paused: Paused, options: Selectors): string {
  const { match, counts } = paused;
  const where = Object.keys(match).length === 0 ? '' : line` where ${shownMatch(match)}`;
  const what = sentences[counts.join() as keyof typeof sentences];
  return `Paused: ${what}${where}${saidReason(paused)}.
What runs goes on. \`lockkeeper resume ${line`${commandLine(options)}`}\` ends it.`;
}

/** The selectors as a shell takes them. */
function commandLine({ job, deployment, pool, tag: tags = {}, all }: Selectors): string {
  const quoted = (text: string) =>
    /^[\w./:@%+=-]+$/.test(text) ? text : `'${text.replaceAll("'", "'\\''")}'`;
  const given = Object.entries({ job, deployment, pool }).filter(([, value]) => value !== undefined);
  const ofTags = Object.entries(tags).map(([key, value]) => ['tag', `${key}=${value}`]);
  const parts = [...given, ...ofTags].map(([name, value]) => `--${name} ${quoted(value ?? '')}`);
  return all ? '--all' : parts.join(' ');
}

async function noPause(lockkeeper: Lockkeeper, match: Record<string, string>): Promise<InvalidInputError> {
  const pauses = (await readLimits(lockkeeper)).filter(({ source }) => source === 'pause');
  const those = [...new Set(pauses.map((pause) => shownMatch(pause.match) || 'everything'))];
  return new InvalidInputError(`There is no pause of ${shownMatch(match) || 'everything'}.`, {
    hint: those.length === 0 ? 'Nothing is paused.' : `Pauses in force: ${those.slice(0, 20).join('; ')}.`,
  });
}
