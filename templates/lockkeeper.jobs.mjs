// @ts-check
// The jobs that `lockkeeper dev` and `lockkeeper worker` run: all that this file exports.

import { setTimeout } from 'node:timers/promises';
import { job } from 'lockkeeper';

/** Two steps. `send` takes a slot of the pool `post`, and lockkeeper.yaml lets one step at a time have it. */
export const hello = job('hello')
  .step('write', async ({ input, signal }) => {
    const { name = 'world' } = /** @type {{ name?: string }} */ (input ?? {});
    await setTimeout(1_000, undefined, { signal }); // Stops when the run is canceled.
    return `Hello, ${name}!`;
  })
  .step(
    'send',
    { after: ['write'], pool: 'post', retry: { maxAttempts: 3, backoffMs: 1_000 } },
    async ({ outputs, signal, log }) => {
      await setTimeout(2_000, undefined, { signal });
      log.info(outputs.write);
      return { characters: outputs.write.length };
    },
  );

/** `lockkeeper dev` submits each of these once to a database, by its key. Remove them when you have seen them run. */
export const firstRuns = ['world', 'moon', 'stars'].map((name) => ({
  job: 'hello',
  input: { name },
  key: `first ${name}`,
}));
