/** One process of a figure: works with one system, marks each start and end, and says how many have ended. */

import { setTimeout as wait } from 'node:timers/promises';
import { systemNamed } from '../systems/index.ts';
import type { Item, System, Work, Working } from '../types.ts';
import { exchanges } from './exchanges.ts';
import { markFile } from './marks.ts';
import type { FromPod, PodOptions, ToPod } from './messages.ts';

const options = JSON.parse(process.argv[2] ?? '{}') as PodOptions;
const system: System = await systemNamed(options.system);
const marks = markFile(options.marks);
const tell = (message: FromPod) => process.send?.(message);

let ended = 0;
let telling = false;

function tellEnded(): void {
  if (telling) return;
  telling = true;
  setTimeout(() => {
    telling = false;
    tell({ kind: 'ended', count: ended });
  }, options.toldEveryMs);
}

/** Whose capacity an item counts against. */
const keyOf = ({ limit }: Work, { tenant = '' }: Item) => (limit.kind === 'tenants' ? tenant : '');

async function handler(item: Item): Promise<void> {
  const key = keyOf(options.work, item);
  marks.start(item.no, key);
  // A timer of 0 would last a millisecond.
  if (options.work.handlerMs > 0) await wait(options.work.handlerMs);
  marks.end(item.no, key);
  ended += 1;
  tellEnded();
}

const working: Working[] = [];
let submitting: Awaited<ReturnType<System['open']>> | undefined;

/** One after the other, as pods of a fleet start. */
async function startWork(): Promise<void> {
  const { url, work, room, jobs } = options;
  for (const one of jobs?.map((job) => ({ ...work, job })) ?? [work])
    working.push(await system.work(url, one, room, handler));
}

async function obey(message: ToPod): Promise<void> {
  if (message.kind === 'work') {
    await startWork();
    tell({ kind: 'working' });
  } else if (message.kind === 'submit') {
    submitting ??= await system.open(options.url, options.work);
    if (message.items.length > 0) await submitting.submit(message.items);
    tell({ kind: 'submitted' });
  } else if (message.kind === 'need') {
    tell({ kind: 'need', need: { ...exchanges(), memoryBytes: process.memoryUsage.rss() } });
  } else {
    await Promise.all(working.map((each) => each.stop()));
    await submitting?.close();
    marks.close();
    process.disconnect();
    // Some systems leave a timer or a connection behind.
    process.exit(0);
  }
}

// An error ends the process with its stack, which the bench then shows.
process.on('message', (message) => void obey(message as ToPod));
// Without the bench there is nothing to work for.
process.once('disconnect', () => process.exit(1));
tell({ kind: 'ready' });
