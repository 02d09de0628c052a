/** `doctor --audit` and `--repair`: what is wrong is told, each with what was done about it. */

import { afterEach, beforeEach, expect, test } from 'vitest';
import { keepTickets } from '../src/coordinator/tick.ts';
import { runIdOf, ticketId } from '../src/queue/tickets.ts';
import { type Busy, busyStage, drain, jobsOn, stored } from './support/busy.ts';
import { cliOn } from './support/cli.ts';
import { openStage } from './support/stage.ts';

type Check = { check: string; status: string; message: string; hint: string | null };

const stage = await openStage();
const jobs = await jobsOn(stage);
const cli = cliOn(stage.database.connectionString);
let busy: Busy;
beforeEach(async () => {
  busy = await busyStage(stage, jobs);
});
afterEach(async () => {
  await stage.rows(`delete from pgboss.job where name = 'lockkeeper.runs'`);
});

async function doctor(...options: string[]) {
  const { code, json } = await cli(['doctor', '--quick', '--json', ...options]);
  const checks = json.checks as Check[];
  return { code, of: (name: string) => checks.filter(({ check }) => check === name), checks };
}
const tickets = async () =>
  (await stage.rows(`select id from pgboss.job where name = 'lockkeeper.runs' order by id`)).map(({ id }) =>
    runIdOf(String(id)),
  );

test('a sound database passes, and is left as it is', async () => {
  const before = [await stored(stage), await tickets()];
  for (const options of [['--audit'], ['--audit', '--repair']]) {
    const { code, of, checks } = await doctor(...options);
    expect(code).toBe(0);
    expect(of('audit')).toMatchObject([{ status: 'ok' }]);
    expect(of('tickets')).toMatchObject([{ status: 'ok' }]);
    expect(checks.map(({ check }) => check)).not.toContain('violations');
  }
  expect([await stored(stage), await tickets()]).toEqual(before);
});

test('--audit tells what is wrong and changes nothing; --repair mends it and says what it did', async () => {
  const before = await stored(stage);
  await stage.rows(
    `update lockkeeper_data.counters c set in_use = 6 from lockkeeper_data.keys k where k.id = c.key_id and k.name = 'pool.api'`,
  );
  await stage.rows('delete from lockkeeper_data.waiting where run_id = $1 and place = 0', [busy.runIds[8]]);
  const damaged = await stored(stage);

  const looked = await doctor('--audit');
  expect(looked.code).toBe(1);
  const messages = [
    'counter is not its slots: pool.api: in_use 6, slots 1',
    `queued run does not wait: run ${busy.runIds[8]}`,
  ];
  const hint = expect.stringContaining('doctor --audit --repair` mends it');
  expect(looked.of('audit')).toEqual(
    messages.map((message) => ({ check: 'audit', status: 'fail', message, hint })),
  );
  expect(await stored(stage)).toEqual(damaged);

  const mended = await doctor('--audit', '--repair');
  expect(mended.code).toBe(0);
  expect(mended.of('audit')).toMatchObject([
    { status: 'warn', message: messages[0], hint: expect.stringMatching(/^Mended: counted anew\. /) },
    { status: 'warn', message: messages[1], hint: expect.stringMatching(/^Mended: it arrives once more\. /) },
  ]);
  expect(await stored(stage)).toEqual(before);
  expect((await doctor('--audit')).code).toBe(0);
  expect(await drain(busy)).toEqual({ succeeded: 11 });
});

test('tickets that are missing or left', async () => {
  const queued = await tickets();
  const lost = queued.slice(0, 2);
  await stage.queue.boss.deleteJob(
    'lockkeeper.runs',
    lost.map((id) => ticketId(String(id))),
  );
  const left = busy.runIds[0] as string;
  await stage.queue.boss.insert('lockkeeper.runs', [{ id: ticketId(left), data: {} }]);
  const messages = [
    `queued runs have no ticket in pg-boss: 2 (runs ${lost.join(', ')})`,
    `tickets in pg-boss are of runs that are not queued: 1 (run ${left})`,
  ];

  const looked = await doctor('--audit');
  expect([looked.code, looked.of('tickets').map(({ message }) => message)]).toEqual([1, messages]);
  const mended = await doctor('--audit', '--repair');
  expect(mended.code).toBe(0);
  expect(mended.of('tickets')).toMatchObject(messages.map((message) => ({ status: 'warn', message })));
  await keepTickets(stage.database, stage.queue);
  expect(await tickets()).toEqual(queued);
  expect((await doctor('--audit')).of('tickets')).toMatchObject([{ status: 'ok' }]);
});

test('of many of a kind, fifty are told', async () => {
  await stage.submit(...Array.from({ length: 60 }, () => busy.ask));
  await stage.tick();
  await stage.rows('delete from lockkeeper_data.waiting where place = 0');
  const { of } = await doctor('--audit');
  expect(of('audit')).toHaveLength(51);
  expect(of('audit').at(-1)).toMatchObject({ status: 'fail', message: 'queued run does not wait: 14 more' });
  await doctor('--audit', '--repair');
});

test('what cannot be mended fails, also with --repair', async () => {
  const run = busy.runIds[8];
  await stage.rows('delete from lockkeeper_data.steps where run_id = $1', [run]);
  const { code, of } = await doctor('--audit', '--repair');
  expect(code).toBe(1);
  expect(of('audit')).toMatchObject([
    { status: 'fail', hint: expect.stringContaining('It could not be mended.') },
  ]);
  await stage.rows('delete from lockkeeper_data.waiting where run_id = $1', [run]);
  await stage.rows('delete from lockkeeper_data.runs where id = $1', [run]);
});

test('--repair alone is refused', async () => {
  const said = await cli(['doctor', '--repair']);
  expect(said).toMatchObject({ code: 2, err: expect.stringContaining('--repair goes with --audit') });
});
