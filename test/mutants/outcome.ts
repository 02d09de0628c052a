/** What a run of Vitest says about a mutant, read from the report of its reporter `json`. */

export type Report = {
  success: boolean;
  testResults: {
    name: string;
    status: string;
    message: string;
    endTime: number;
    assertionResults: { fullName: string; status: string; failureMessages: string[] | null }[];
  }[];
};

export type Outcome =
  /** No test failed. */
  | { kind: 'survived' }
  /** A test noticed the fault: its full name, its file, and what it said. */
  | { kind: 'killed'; test: string; file: string; message: string }
  /** It broke before a test could tell: this proves nothing. */
  | { kind: 'set-up'; message: string };

/** Errors of code that cannot run at all, of Postgres (class 42) and of Node. */
const cannotRun =
  /SyntaxError|ReferenceError|ERR_MODULE|ERR_INVALID_TYPESCRIPT|Cannot find (module|package)|Failed to (load|resolve)|Transform failed|is not a function|syntax error at|(column|relation|function|operator|type|schema|constraint|record) .* (does not exist|has no field)|is ambiguous|missing FROM-clause|must appear in the GROUP BY|is of type .* but expression is|could not determine|cannot be matched|invalid reference|Hook timed out|\b42[0-9A-Z]{3}\b/;

/** The outcome, by the first test that failed. `undefined`: Vitest wrote no report; then its output tells. */
export function outcomeOf(report: Report | undefined, output: string): Outcome {
  if (!report) return { kind: 'set-up', message: lastLines(output) };
  if (report.success) return { kind: 'survived' };
  const failed = report.testResults
    .toSorted((a, b) => a.endTime - b.endTime)
    .flatMap(({ name, assertionResults }) =>
      assertionResults
        .filter(({ status }) => status === 'failed')
        .map(({ fullName, failureMessages }) => ({
          file: name,
          test: fullName,
          message: failureMessages?.join('\n') ?? '',
        })),
    );
  const [first] = failed;
  if (first && !cannotRun.test(first.message)) return { kind: 'killed', ...first };
  // A file that does not load, or whose hook failed, has no failed test.
  const broken = report.testResults.find(({ status, message }) => status === 'failed' && message !== '');
  return { kind: 'set-up', message: first?.message ?? broken?.message ?? lastLines(output) };
}

const lastLines = (output: string) => output.trim().split('\n').slice(-15).join('\n');
