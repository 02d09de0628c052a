/** Ends the output with one line `N passed, N failed`, which .ci/run and other programs read. */

import type { Reporter, SerializedError, TestModule } from 'vitest/node';

export default class CountReporter implements Reporter {
  onTestRunEnd(modules: readonly TestModule[], unhandled: readonly SerializedError[]): void {
    let passed = 0;
    let failed = unhandled.length;
    for (const module of modules) {
      const tests = [...module.children.allTests()];
      const failures = tests.filter((test) => test.result().state === 'failed').length;
      passed += tests.filter((test) => test.result().state === 'passed').length;
      failed += failures;
      // A file can fail without a test of it: it does not load, or a hook around its tests throws.
      if (!module.ok() && failures === 0) failed += 1;
    }
    // What fails outside of any test, such as the set-up of the whole run, shows only in the exit code.
    process.once('exit', (code) => console.log(`\n${passed} passed, ${code && !failed ? 1 : failed} failed`));
  }
}
