/** Faults of the worker process: what it holds, hands back and tells. */

import type { Mutant } from './mutant.ts';

const worker = 'src/worker/worker.ts';

export const inTheWorker: readonly Mutant[] = [
  {
    name: 'late-claim-is-started',
    file: worker,
    text: 'if (unsure || this.#draining)',
    fault: 'if (this.#draining)',
    harm: 'After a long stall of its process a worker starts steps that others may have by now.',
    likely: ['test/late-replies.test.ts'],
  },
  {
    name: 'lost-lease-aborts-nothing',
    file: worker,
    text: "    this.#held.abortAll('lost');\n",
    fault: '',
    harm: 'Handlers whose lease has ended run on beside those of others.',
    likely: ['test/worker.test.ts'],
  },
  {
    name: 'not-held-while-it-finishes',
    file: worker,
    text: '    this.#ended = [];\n    const exchanged',
    fault: '    this.#ended = [];\n    this.#held.remove(ended);\n    const exchanged',
    harm: 'While the database is away, a step that has ended is not named, goes back and runs a second time.',
    likely: ['test/worker-replies.test.ts'],
  },
  {
    name: 'outcomes-lost-on-error',
    file: worker,
    text: 'this.#ended = [...ended, ...this.#ended];',
    fault: 'this.#ended = [...this.#ended];',
    harm: 'An error while outcomes are stored loses them: the steps run until their worker dies.',
    likely: ['test/worker-replies.test.ts'],
  },
  {
    name: 'claims-while-it-stops',
    file: worker,
    text: 'const room = this.#draining ? 0 : this.#room - this.#held.size + ended.length;',
    fault: 'const room = this.#room - this.#held.size + ended.length;',
    harm: 'A worker that is told to stop takes more.',
    likely: ['test/worker.test.ts'],
  },
  {
    name: 'outcomes-not-sent-again',
    file: worker,
    text: '    this.#ended.push(...again);\n',
    fault: '',
    harm: 'An outcome that did not fit into one exchange is lost.',
    likely: ['test/exchange.test.ts'],
  },
  {
    name: 'told-and-passed-on-to-nobody',
    file: worker,
    text: "      if (told) this.#parts.onProgress(['claim']);\n",
    fault: '',
    harm: 'A worker without room keeps to itself that there is something to claim.',
    likely: ['test/exchange.test.ts'],
  },
  {
    name: 'what-is-left-is-told-to-nobody',
    file: worker,
    text: 'if (wakes.length > 0 && (told ||',
    fault: 'if (told && wakes.length > 0 && (told ||',
    harm: 'A slot that is given back waits for the next tick of the process that needs it.',
    likely: ['test/passed-on.test.ts'],
  },
  {
    name: 'renewal-names-nothing',
    file: 'src/worker/renewal.ts',
    text: '  for (const ref of add) held.set(keyOf(ref), ref);\n',
    fault: '',
    harm: 'Every step that is longer than two renewals runs twice.',
    likely: ['test/worker-renewal.test.ts'],
  },
  {
    name: 'error-of-finish-swallowed',
    file: 'src/worker/finishing.ts',
    text: 'if (!isOfTheData(error)) throw error;',
    fault: 'if (!isOfTheData(error)) return [];',
    harm: 'A finish that failed counts as done.',
    likely: ['test/worker-finishing.test.ts'],
  },
  {
    name: 'batch-not-one-by-one',
    file: 'src/worker/finishing.ts',
    text: 'if (endings.length > 1) {',
    fault: 'if (endings.length > 1_000) {',
    harm: 'One output that cannot be stored fails or loses those of the same batch.',
    likely: ['test/worker-finishing.test.ts'],
  },
];
