/** Branch deployments are made at submit and end after days without runs; a deployment is deleted by hand. */

import { expect, test } from 'vitest';
import { job } from '../../src/jobs.ts';
import { deleteDeployment } from '../../src/limits/apply.ts';
import { tellStory } from '../support/story.ts';

const story = await tellStory();
const report = job('report', story.handler);
const branches = { concurrency: { branch_deployments: { max_concurrent_branch_deployment_runs: 1 } } };
const day = 86_400;
const endedAt = async (deployment: string) =>
  (await story.rows('select ended_at from lockkeeper.deployments where deployment = $1', [deployment]))[0]
    ?.ended_at;
const endBranches = async () => (await story.rows('select lockkeeper.end_branches() as names'))[0]?.names;
const remove = (name: string, queued: 'refuse' | 'cancel' | 'keep') =>
  deleteDeployment(story.database.execute, name, queued);

test('a submission with a branch makes its deployment, and the limits of branches count it', async () => {
  await story.apply(branches);
  await story.work([report]);
  await story.submit('b1', report, { branch: 'pr-1' });
  await story.submit('b2', report, { branch: 'pr-2' });
  await story.submit('b3', report, { branch: 'pr-1' });
  await story.settle();
  expect(story.running()).toEqual(['b1.run']);
  expect(await story.waitingFor('b2')).toEqual(['branches']);
  expect(await story.rows("select kind from lockkeeper.deployments where deployment like 'pr-%'")).toEqual([
    { kind: 'branch' },
    { kind: 'branch' },
  ]);
});

test('branch and deployment together, or a branch that is a full deployment, are refused', async () => {
  await story.work([report]);
  await expect(story.submit('x', report, { branch: 'pr-1', deployment: 'default' })).rejects.toThrow(
    'branch',
  );
  await expect(story.submit('x', report, { branch: 'default' })).rejects.toThrow('exists and is full');
});

test('a branch ends after days without runs, and is taken up again by a submission', async () => {
  await story.work([report]);
  await story.submit('b1', report, { branch: 'pr-9' });
  await story.settle();
  await story.advance(20 * day);
  // Its run has not ended.
  await endBranches();
  expect(await endedAt('pr-9')).toBeNull();
  await story.work([report], { name: 'w2' });
  await story.settle();
  await story.cancel('b1', { force: true });
  await story.advance(600);
  await story.rows('select lockkeeper.archive()');
  await story.advance(13 * day);
  await endBranches();
  expect(await endedAt('pr-9')).toBeNull();
  await story.advance(2 * day);
  expect(await endBranches()).toContain('pr-9');
  expect(await endedAt('pr-9')).not.toBeNull();
  await expect(story.submit('b2', report, { deployment: 'pr-9' })).rejects.toThrow('has ended');
  await story.submit('b2', report, { branch: 'pr-9' });
  expect(await endedAt('pr-9')).toBeNull();
});

test('deleting a deployment says what becomes of its queued runs', async () => {
  await story.apply(branches);
  await story.work([report]);
  for (const name of ['c1', 'c2', 'c3']) await story.submit(name, report, { branch: 'pr-3' });
  await story.settle();
  await expect(remove('pr-3', 'refuse')).rejects.toThrow('has 3 runs that have not ended');
  expect(await endedAt('pr-3')).toBeNull();

  expect(await remove('pr-3', 'cancel')).toBe(2);
  expect([await story.stateOf('c1'), await story.stateOf('c2')]).toEqual(['running', 'canceled']);
  await expect(story.submit('c4', report, { deployment: 'pr-3' })).rejects.toThrow('has ended');
  await story.finish('c1.run');
  expect(await story.stateOf('c1')).toBe('succeeded');
});

test('queued runs of a deleted deployment that are kept still run', async () => {
  await story.apply(branches);
  await story.work([report]);
  for (const name of ['k1', 'k2']) await story.submit(name, report, { branch: 'pr-4' });
  await story.settle();
  expect(await remove('pr-4', 'keep')).toBe(0);
  await story.finish('k1.run');
  expect(story.running()).toEqual(['k2.run']);
});

test('the default deployment stays, and an unknown one is said to be unknown', async () => {
  await expect(remove('default', 'cancel')).rejects.toThrow('cannot be deleted');
  await expect(remove('nowhere', 'cancel')).rejects.toThrow('does not exist');
  await expect(remove('default', 'drop' as never)).rejects.toThrow('queued is "drop"');
});
