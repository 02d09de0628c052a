/** The configuration, deployments and jobs of part 1, and then its runs. */

import { createLockkeeper } from '../../src/index.ts';
import { config, deployments, jobsWith, runCount, runOf } from './workload.ts';

const batch = 100;

/** Sets up all but the runs; what it answers submits them, and answers the trial's number of each run. */
export async function setup(url: string): Promise<() => Promise<Map<string, number>>> {
  const lockkeeper = await createLockkeeper({ connectionString: url, jobs: jobsWith(() => undefined) });
  for (const [name, kind] of Object.entries(deployments)) await lockkeeper.addDeployment(name, kind);
  await lockkeeper.applyConfig(config);
  await lockkeeper.register();
  return async () => {
    const numbers = new Map<string, number>();
    for (let from = 0; from < runCount; from += batch) {
      const submitted = await lockkeeper.submitMany(
        Array.from({ length: batch }, (_, i) => submission(from + i)),
      );
      for (const [i, { runId }] of submitted.entries()) numbers.set(runId, from + i);
    }
    await lockkeeper.close();
    return numbers;
  };
}

function submission(no: number): unknown {
  const { job, deployment, tags, priority, maxConcurrent } = runOf(no);
  const own = maxConcurrent === undefined ? {} : { max_concurrent: maxConcurrent };
  return { job, deployment, tags, priority, input: { no }, ...own };
}
