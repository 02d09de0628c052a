/** Submissions in a file: a JSON array, all or none; or JSON lines, a submission on each, sent in batches. */

import { InvalidInputError, LockkeeperError, UnknownDeploymentError, UnknownJobError } from '../errors.ts';
import type { Lockkeeper } from '../lockkeeper.ts';
import type { Submitted } from '../runs.ts';
import { ProblemsError, parseSubmission, type Submission } from '../schema.ts';
import { select } from './connect.ts';
import type { Progress } from './progress.ts';

/** One of the file, and where it stands: `line 7 of runs.jsonl`. */
type Placed = { submission: Submission; place: string };
export type SubmissionFile = { placed: Placed[]; inLines: boolean };

const batch = 1_000;

/**
 * Checks every submission before the first is sent, so that an error can say which one it is.
 * @throws {InvalidInputError} that names it.
 */
export function readSubmissions(file: string, text: string): SubmissionFile {
  const whole = parse(text);
  if ('value' in whole) {
    const values = Array.isArray(whole.value) ? whole.value : [whole.value];
    const placed = values.map((value, i) => check(value, `submission ${i + 1} of ${file}`));
    return { placed, inLines: false };
  }
  const lines = text.split('\n').map((line, i) => ({ line: line.trim(), place: `line ${i + 1} of ${file}` }));
  const full = lines.filter(({ line }) => line !== '');
  // What begins as an array, or has only one line, was not meant as lines.
  if (full.length <= 1 || text.trimStart().startsWith('['))
    throw new InvalidInputError(`${file}: This is no JSON: ${whole.error}.`);
  const placed = full.map(({ line, place }) => {
    const one = parse(line);
    if ('error' in one) throw new InvalidInputError(`${capital(place)}: This is no JSON: ${one.error}.`);
    return check(one.value, place);
  });
  return { placed, inLines: true };
}

function parse(text: string): { value: unknown } | { error: string } {
  try {
    return { value: JSON.parse(text) };
  } catch (error) {
    return { error: (error as Error).message };
  }
}

const capital = (text: string) => text.charAt(0).toUpperCase() + text.slice(1);

function check(value: unknown, place: string): Placed {
  try {
    return { submission: parseSubmission(value), place };
  } catch (error) {
    if (!(error instanceof ProblemsError)) throw error;
    throw new ProblemsError(capital(place), error.problems);
  }
}

/** Submits an array at once, and lines in batches, each of which is all or none. */
export async function submitFile(
  lockkeeper: Lockkeeper,
  { placed, inLines }: SubmissionFile,
  progress: Progress,
): Promise<Submitted[]> {
  const submissions = placed.map(({ submission }) => submission);
  if (!inLines) return lockkeeper.submitMany(submissions);
  await refuseUnknown(lockkeeper, placed);
  const submitted: Submitted[] = [];
  for (let i = 0; i < submissions.length; i += batch) {
    progress.at(i, submissions.length);
    try {
      submitted.push(...(await lockkeeper.submitMany(submissions.slice(i, i + batch))));
    } catch (error) {
      throw inBatch(error, placed.slice(i, i + batch), submitted.length);
    }
  }
  return submitted;
}

/** A batch names no line when the database refuses one of it, so what it mostly is about is looked at before. */
async function refuseUnknown(lockkeeper: Lockkeeper, placed: readonly Placed[]): Promise<void> {
  const jobs = await select<{ job: string }>(lockkeeper, 'select job from lockkeeper.jobs');
  const deployments = await select<{ deployment: string }>(
    lockkeeper,
    'select deployment from lockkeeper.deployments',
  );
  const knownJobs = new Set(jobs.map(({ job }) => job));
  const known = new Set(deployments.map(({ deployment }) => deployment));
  for (const { submission, place } of placed) {
    const { job, deployment } = submission;
    if (!knownJobs.has(job))
      throw new UnknownJobError(`${capital(place)}: job ${JSON.stringify(job)} is not registered.`, {
        hint: '`lockkeeper jobs` shows those that are; a worker registers its jobs when it starts.',
      });
    if (deployment != null && !known.has(deployment))
      throw new UnknownDeploymentError(
        `${capital(place)}: deployment ${JSON.stringify(deployment)} does not exist.`,
        { hint: `lockkeeper deployments add ${deployment} --kind full` },
      );
  }
}

function inBatch(error: unknown, placed: readonly Placed[], before: number): unknown {
  if (!(error instanceof LockkeeperError)) return error;
  const [first, last] = [placed[0]?.place, placed.at(-1)?.place];
  return new LockkeeperError(`Between ${first} and ${last}: ${error.message}`, {
    hint: `${error.hint ? `${error.hint} ` : ''}${before} runs of the lines before are submitted, none of these; submissions with a key can be repeated.`,
    cause: error,
  });
}
