/** What cannot be stored ends its own step, with an error for people, and no other that ends in the same exchange. */

import { expect, test } from 'vitest';
import { job } from '../src/jobs.ts';
import { largestOutputBytes } from '../src/worker/handler.ts';
import { tellStory } from './support/story.ts';

const story = await tellStory();

const circle: Record<string, unknown> = {};
circle.self = circle;

function nested(depth: number): unknown {
  let value: unknown = 'leaf';
  for (let level = 0; level < depth; level += 1) value = [value];
  return value;
}

/** The JSON of a text is two quotes longer. */
const textOf = (bytes: number) => 'x'.repeat(bytes - 2);

const refused: Record<string, [output: unknown, message: string]> = {
  nul: ['a\0b', 'NUL'],
  'nul in a name': [{ 'a\0b': 1 }, 'NUL'],
  'half a pair': ['\uD800', 'half of a surrogate pair'],
  'ten megabytes': [textOf(10_000_000), '10,000,000 bytes as JSON, allowed are 1,048,576'],
  'a byte too many': [textOf(largestOutputBytes + 1), '1,048,577 bytes'],
  'too many bytes for its letters': ['ä'.repeat(largestOutputBytes / 2), '1,048,578 bytes'],
  deep: [nested(10_000), 'nested deeper than 1000 levels'],
  circle: [circle, 'contains itself'],
  bigint: [{ rows: 5n }, 'rows: 5n is no value in JSON'],
  function: [[() => 1], 'a function is no value in JSON'],
  symbol: [Symbol('x'), 'a symbol is no value in JSON'],
  infinite: [{ rows: Number.POSITIVE_INFINITY }, 'Infinity is no number in JSON'],
  'no number': [Number.NaN, 'NaN is no number in JSON'],
  map: [new Map(), 'a Map would be lost in JSON'],
  'throws when read': [
    {
      toJSON: () => {
        throw new Error('not now');
      },
    },
    'not now',
  ],
};

const stored: Record<string, [output: unknown, read: unknown]> = {
  fine: [{ rows: 5 }, { rows: 5 }],
  nothing: [undefined, null],
  'a member that is nothing': [{ rows: undefined }, {}],
  greatest: [Number.MAX_VALUE, Number.MAX_VALUE],
  smallest: [Number.MIN_VALUE, Number.MIN_VALUE],
  'the most bytes': [textOf(largestOutputBytes), textOf(largestOutputBytes)],
  'deep, but not too deep': [nested(900), nested(900)],
};

const thrown: Record<string, [error: unknown, message: string]> = {
  'nul and half a pair': [new Error('a\0b\uD800'), 'a\uFFFDb\uFFFD'],
  'a long text': [new Error('x'.repeat(10_000_000)), 'x'.repeat(10_000)],
  'a message that is no text': [Object.assign(new Error('x'), { message: 5n }), '5'],
  'no prototype': [Object.create(null), 'has no text'],
  'a symbol': [Symbol('x'), 'Symbol(x)'],
  'a bigint': [5n, '5'],
  'a circle': [circle, '[object Object]'],
};

async function stepOf(run: string): Promise<Record<string, unknown>> {
  const [step] = await story.rows('select state, output, error from lockkeeper.steps where run_id = $1', [
    story.idOf(run),
  ]);
  return step ?? {};
}

/** A step for each name; all end before the worker's next exchange, so in one. */
async function endTogether(ends: Record<string, { output: unknown } | { error: unknown }>): Promise<void> {
  const ending = Promise.withResolvers<void>();
  const load = job('load', async ({ run }) => {
    await ending.promise;
    const end = ends[run.tags.name ?? ''];
    if (end && 'error' in end) throw end.error;
    return end?.output;
  });
  const worker = await story.work([load]);
  for (const name of Object.keys(ends)) await story.submit(name, load, { tags: { name } });
  await story.settle();
  expect(worker.running).toBe(Object.keys(ends).length);
  ending.resolve();
  await story.settle();
  while (worker.running > 0) await worker.tick();
}

test('an output that cannot be stored', async () => {
  const outputs = Object.entries({ ...refused, ...stored });
  await endTogether(Object.fromEntries(outputs.map(([name, [output]]) => [name, { output }])));
  for (const [name, [, message]] of Object.entries(refused)) {
    const { state, error } = await stepOf(name);
    expect([name, state]).toEqual([name, 'failed']);
    expect((error as { message: string }).message).toContain(message);
  }
  for (const [name, [, read]] of Object.entries(stored))
    expect([name, await stepOf(name)]).toEqual([name, { state: 'succeeded', output: read, error: null }]);
});

test('an error that cannot be stored', async () => {
  const errors = Object.entries(thrown).map(([name, [error]]) => [name, { error }]);
  await endTogether({ ...Object.fromEntries(errors), fine: { output: 'fine' } });
  for (const [name, [, message]] of Object.entries(thrown)) {
    const { state, error } = await stepOf(name);
    expect([name, state]).toEqual([name, 'failed']);
    expect((error as { message: string }).message).toContain(message);
  }
  expect(await stepOf('fine')).toMatchObject({ state: 'succeeded', output: 'fine' });
});
