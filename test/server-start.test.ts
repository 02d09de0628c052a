/** Nothing is reaped within a lease of the server's start or a promotion: real servers, whose clock stands still. */

import { rmSync } from 'node:fs';
import { afterAll, afterEach, expect, test, vi } from 'vitest';
import type { Claimed } from '../src/steps.ts';
import {
  beStandby,
  copyServer,
  makeDatabase,
  type OwnServer,
  removeServer,
  serverFolder,
  stageOn,
  startServer,
} from './support/own-server.ts';
import { claimAll, type Stage } from './support/stage.ts';

// Servers are made, started and stopped.
vi.setConfig({ testTimeout: 120_000 });

const parent = serverFolder();
const running: OwnServer[] = [];
const folders = new Set<string>();
const closing: (() => Promise<void>)[] = [];
afterEach(async () => {
  for (const close of closing.splice(0)) await close();
  for (const server of running.splice(0)) await server.close();
});
afterAll(() => {
  rmSync(parent, { recursive: true, force: true });
  for (const folder of folders) removeServer({ folder });
});

async function started(starting: Promise<OwnServer>): Promise<OwnServer> {
  const server = await starting;
  running.push(server);
  folders.add(server.folder);
  return server;
}

async function stop(server: OwnServer): Promise<void> {
  for (const close of closing.splice(0)) await close();
  running.splice(running.indexOf(server), 1);
  await server.close();
}

async function open(server: OwnServer, name: string): Promise<Stage> {
  const { stage, leave } = await stageOn(server, name);
  closing.push(leave);
  return stage;
}

const advance = (stage: Stage, seconds: number) =>
  stage.rows('select lockkeeper.advance_clock($1)', [seconds]);
const reap = async (stage: Stage) => (await stage.rows('select lockkeeper.reap() as leases'))[0]?.leases;
/** What the leases that have their word hold is theirs on whatever server. */
const renew = (stage: Stage, lease: string, { runId, place, attempt }: Claimed) =>
  stage.rows('select * from lockkeeper.renew_lease($1, $2)', [
    lease,
    JSON.stringify([{ run_id: runId, place, attempt }]),
  ]);
const finish = async (stage: Stage, lease: string, { runId, place, attempt }: Claimed) =>
  (
    await stage.rows('select answer from lockkeeper.finish($1, $2)', [
      lease,
      JSON.stringify([{ run_id: runId, place, attempt, outcome: 'succeeded' }]),
    ])
  )[0]?.answer;

/** Two workers that run a step each; one will die. The server's start is long ago. */
async function twoWorkers(stage: Stage) {
  await stage.rows('select lockkeeper.stop_clock()');
  await reap(stage);
  await advance(stage, 3_600);
  const load = await stage.register('load', { copy: {} });
  const [alive, dead] = [await stage.serve(load), await stage.serve(load)];
  const runs = await stage.submit(load, load);
  await stage.tick();
  const [going] = (await claimAll(alive, 1)) as [Claimed];
  const [lost] = (await claimAll(dead, 1)) as [Claimed];
  expect(runs).toEqual([going.runId, lost.runId]);
  return { load, alive: alive.id, dead: dead.id, going, lost };
}

/** From here on it is the same after a start and after a promotion: leases are 60 s. */
async function expectALeaseOfGrace(stage: Stage, set: Awaited<ReturnType<typeof twoWorkers>>) {
  const { load, alive, dead, going, lost } = set;
  expect((await stage.tick()).ended).toBe(0);
  await advance(stage, 59);
  expect((await stage.tick()).ended).toBe(0);
  expect(await renew(stage, alive, going)).toEqual([]);
  expect([await stage.stepsOf(going.runId), await stage.stepsOf(lost.runId)]).toEqual([
    { copy: 'running' },
    { copy: 'running' },
  ]);
  await advance(stage, 1.001);
  expect((await stage.tick()).ended).toBe(1);
  expect([await stage.stepsOf(going.runId), await stage.stepsOf(lost.runId)]).toEqual([
    { copy: 'running' },
    { copy: 'ready' },
  ]);
  expect(await finish(stage, dead, lost)).toBe('refused');
  expect(await finish(stage, alive, going)).toBe('accepted');
  const again = await claimAll(await stage.serve(load));
  expect(again).toMatchObject([{ runId: lost.runId, attempt: 2 }]);
  expect(await stage.rows('select * from lockkeeper.violations')).toEqual([]);
}

test('leases that ended while the server was down have a lease of time to be renewed', async () => {
  const first = await started(startServer(`${parent}/one`));
  const name = await makeDatabase(first);
  const set = await twoWorkers(await open(first, name));
  await stop(first);
  const stage = await open(await started(startServer(`${parent}/one`)), name);
  await advance(stage, 3_600);
  await expectALeaseOfGrace(stage, set);
});

/** Until the standby has all that was written before. */
async function caughtUp(primary: Stage, standby: Stage): Promise<void> {
  const [row] = await primary.rows('select pg_current_wal_flush_lsn()::text as at');
  const there = async () =>
    (await standby.rows('select pg_last_wal_replay_lsn() >= $1::pg_lsn as yes', [row?.at]))[0]?.yes === true;
  while (!(await there()));
}

test('so they have after a promotion, which only the timeline tells', async () => {
  const old = await started(startServer(`${parent}/primary`));
  const name = await makeDatabase(old);
  await stop(old);
  // Where a server that we may not start here lives instead, only its start tells.
  const copy = await started(startServer(`${parent}/standby`));
  await stop(copy);
  copyServer(old, copy);
  const primary = await started(startServer(`${parent}/primary`));
  beStandby(copy, primary.url);
  const standby = await started(startServer(`${parent}/standby`));
  const before = await open(primary, name);
  const set = await twoWorkers(before);
  const after = await open(standby, name);
  // As if both processes had been started at the same moment.
  const [process] = await after.rows('select pg_postmaster_start_time()::text as at');
  await before.rows('update lockkeeper_data.server set started_at = $1', [process?.at]);
  await caughtUp(before, after);
  await stop(primary);
  const stage = await open(standby, name);
  expect(await stage.rows('select pg_promote() as done')).toEqual([{ done: true }]);
  await advance(stage, 3_600);
  await expectALeaseOfGrace(stage, set);
});
