/** Faults that the fuzz, the models, the races and the seeded faults once found in the product. */

import type { Mutant } from './mutant.ts';

export const onceFound: readonly Mutant[] = [
  {
    name: 'opened-since-is-passed',
    file: 'sql/code/64_claim.sql',
    text: '    if v_opened.run_id is not null then d := lockkeeper_data.decide(v_lanes, n, null, lockkeeper_data.earlier(v_opened, v_first)); end if;\n',
    fault: '',
    harm: 'A step that becomes ready while another is being claimed loses its turn.',
    likely: ['test/races/order.test.ts'],
  },
  {
    name: 'no-call-for-batons-of-others',
    file: 'sql/code/64_claim.sql',
    text: "(more or lockkeeper_data.batons_of_others(v_versions) <> '{}')",
    fault: 'more',
    harm: 'A pool stands idle until the next tick beside a worker with room.',
    likely: ['test/scenarios.test.ts'],
  },
  {
    name: 'repeat-is-fresh',
    file: 'src/worker/worker.ts',
    text: 'const sent = this.#claimSince ?? monotonicMs();',
    fault: 'const sent = monotonicMs();',
    harm: 'Steps of a claim whose answer was lost are started, and given to another.',
    likely: ['test/worker-replies.test.ts'],
  },
  {
    name: 'start-is-not-noted',
    file: 'sql/code/73_todo.sql',
    text: '\n    or exists (select from lockkeeper_data.server s where s.started_at <> pg_postmaster_start_time() or s.timeline <> lockkeeper_data.timeline())',
    fault: '',
    harm: 'A worker that dies long after a start of the server is reaped a lease late.',
    likely: ['test/server-noted.test.ts'],
  },
  {
    name: 'retry-at-any-level',
    file: 'sql/code/42_retry.sql',
    text: '  perform lockkeeper_data.check_isolation();\n',
    fault: '',
    harm: 'At repeatable read, two who retry a run make two of it.',
    likely: ['test/races/isolation.test.ts'],
  },
  {
    name: 'output-of-any-size',
    file: 'src/worker/handler.ts',
    text: 'if (bytes <= largestOutputBytes) return undefined;',
    fault: 'if (bytes <= 64 * largestOutputBytes) return undefined;',
    harm: 'One huge output holds up all that ends with it and all that comes after it.',
    likely: ['test/refused-outputs.test.ts'],
  },
  {
    name: 'named-is-who-was-first',
    file: 'sql/code/70_waiting.sql',
    text: 'not exists (select from lockkeeper_data.waiting y where y.lane_id = w.lane_id and (y.run_id, y.attempts, y.place) < (w.run_id, w.attempts, w.place)) as first',
    fault: '(w.run_id, w.attempts, w.place) = (x.run_id, x.attempts, x.place) as first',
    harm: 'When the first of those that ask for the same is canceled, nobody is named.',
    likely: ['test/stories/passed-over.test.ts'],
  },
  {
    name: 'slice-that-fails-comes-again-at-once',
    file: 'src/coordinator/auditor.ts',
    text: "    this.#afterRun = over ? '0' : upto;\n",
    fault: '',
    harm: 'The audit never comes past its first slice.',
    likely: ['test/auditor.test.ts'],
  },
];
