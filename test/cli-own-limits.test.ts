/** The commands for limits of one's own. */

import { afterEach, describe, expect, test } from 'vitest';
import { cliOn } from './support/cli.ts';
import { testDatabase } from './support/database.ts';

const database = await testDatabase();
const cli = cliOn(database.connectionString);
const register = (definition: object) =>
  database.execute('select lockkeeper.register($1)', [JSON.stringify(definition)]);
await register({
  job: 'report',
  version: '1',
  steps: [{ name: 'draw' }],
  limits: [{ name: 'executor@report', counts: 'step', match: { job: 'report' }, per: ['run'], capacity: 3 }],
});
afterEach(() =>
  database.execute("select lockkeeper.drop_limit(name) from lockkeeper.limits where source = 'user'", []),
);

describe('limits of your own', () => {
  const each =
    '{ name: load.each-customer, counts: run, match: { job: load, tag.customer: true }, per: [tag.customer], capacity: 1 }';

  test('are added from YAML or JSON, stay whatever is applied, and are dropped', async () => {
    expect((await cli(['limits', 'add', '-'], each)).out).toMatch(/added +load\.each-customer/);
    const again = [
      { name: 'load.each-customer', counts: 'run', capacity: 2 },
      { name: 'x', counts: 'step', capacity: null },
    ];
    expect((await cli(['limits', 'add', '-', '--json'], JSON.stringify(again))).json).toEqual({
      limits: [
        { name: 'load.each-customer', change: 'changed' },
        { name: 'x', change: 'added' },
      ],
    });
    expect((await cli(['limits', 'plan', '-'], '{}')).out).toMatch(
      /load\.each-customer +user +2\nx +user +unlimited/,
    );
    await cli(['limits', 'apply', '-'], '{}');
    expect((await cli(['limits', 'list', 'load.each-customer', '--json'])).json.limits).toMatchObject([
      { capacity: 2, source: 'user' },
    ]);
    expect(await cli(['limits', 'drop', 'load.each-customer'])).toMatchObject({
      code: 0,
      out: 'load.each-customer is dropped.',
    });
    expect((await cli(['limits', 'drop', 'x', '--json'])).json).toEqual({ name: 'x', dropped: true });
  });

  test.each([
    ['{ name: x, counts: task, capacity: 1 }', 'counts: "task" is not allowed; allowed: run or step'],
    ['{ name: x, counts: run, capacity: -1 }', 'capacity: -1 is not allowed; allowed: an integer from 0'],
    ['{ name: x, counts: run }', 'capacity: missing'],
    ['{ name: pool.x, counts: step, capacity: 1 }', 'name: "pool.x" is a name of the configuration'],
    [
      '{ name: x, counts: run, capacity: 1, match: { jobs: load } }',
      'match.jobs: "jobs" is no attribute. Did you mean job?',
    ],
    ['{ name: x, counts: run, capacity: 1, match: { tag.n: 5 } }', 'match["tag.n"]: 5 is not allowed'],
    ['{ name: x, counts: step, capacity: 1, match: { run: "5" } }', 'match.run: one run cannot be matched'],
    ['{ name: x, counts: run, capacity: 1, per: [step] }', 'per[0]: a run has no step'],
    ['{ name: x, counts: run, capacity: 1, pre: [job] }', 'pre: no such setting. Did you mean `per`?'],
    [
      '[{ name: x, counts: run, capacity: 1 }, { name: x, counts: run, capacity: 2 }]',
      'name: "x" is that of limit 1 too',
    ],
    ['{ name: x, counts: run, capacity: "5" }', 'capacity: "5" is a text; write it without quotes'],
    ['{ name: x, counts: run, capacity: job, per: [run] }', 'capacity: "job" is no attribute with a number'],
    [
      '{ name: x, counts: run, capacity: tag.n }',
      'capacity: tag.n gives the number only in a limit grouped by run',
    ],
    ['[]', 'there is no limit in it'],
    ['', 'null is not allowed'],
    ['{ name: [', 'at line 1'],
  ])('wrong: %s', async (text, message) => {
    const said = await cli(['limits', 'add', '-'], text);
    expect(said).toMatchObject({ code: 1, out: '' });
    expect(said.err).toContain(message);
  });

  test('a capacity may be the number in a tag', async () => {
    await cli(
      ['limits', 'add', '-'],
      '{ name: x, counts: run, capacity: tag.most, per: [tag.most], match: null }',
    );
    expect((await cli(['limits', 'list'])).out).toMatch(/x +runs +- +tag\.most +tag\.most +user/);
    expect((await cli(['limits', 'plan', '-'], '{}')).out).toMatch(/x +user +tag\.most/);
  });

  test('all or none', async () => {
    const many = [
      { name: 'x', counts: 'run', capacity: 1 },
      { name: 'executor', counts: 'run', capacity: 1 },
    ];
    const said = await cli(['limits', 'add', '-'], JSON.stringify(many));
    expect(said).toMatchObject({ code: 1, err: expect.stringContaining('Limit 2 of -: name: "executor"') });
    const byDatabase = database.execute(
      'select lockkeeper.set_limit(l.value) from jsonb_array_elements($1) l(value)',
      [JSON.stringify(many)],
    );
    await expect(byDatabase).rejects.toThrow('name is "executor"');
    expect((await cli(['limits', 'drop', 'x'])).err).toContain('There is no limit called "x".');
    expect((await cli(['limits', 'drop', 'executor@report'])).err).toContain(
      'no limit of your own (source job report)',
    );
  });
});
