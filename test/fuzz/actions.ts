/**
 * What is done to the model and to the product: commands with names in place of numbers. An action is plain data and
 * stands for itself, so that a list of them can be played again under another setting.
 */
import type { Submission } from '../model/run.ts';

/** One attempt and how its worker says it ended. */
export type Ending = { step: string; attempt: number; fails: boolean };

/** `refused`: the answer must be that. `over`: it has ended by its worker's word, and may be `already` too. */
export type Action =
  | { do: 'settle' | 'audit' | 'archive' }
  | { do: 'restart' }
  | { do: 'submit'; runs: Submission[]; keyed: boolean; rejected?: string; again?: true }
  | { do: 'send'; run: Submission; rejected?: string }
  | { do: 'end'; worker: string; endings: Ending[]; late?: 'refused' | 'over' }
  | { do: 'claim again'; worker: string; older: boolean }
  | { do: 'cancel'; runs: string[]; force: boolean }
  | { do: 'apply'; config: unknown; rejected?: string }
  | { do: 'override'; limit: string; capacity: number }
  | { do: 'unset override'; limit: string }
  | { do: 'pause'; match: Record<string, string>; counts: ('run' | 'step')[] }
  | { do: 'resume'; match: Record<string, string> }
  | { do: 'set priority'; run: string; priority: number }
  | { do: 'cancel ticket' | 'delete ticket' | 'fetch ticket'; run: string }
  | { do: 'crash' | 'stop'; worker: string }
  | { do: 'start'; worker: string; room: number; jobs: string[] }
  | { do: 'advance'; seconds: number };

/** For people, on one line. */
export function inWords(action: Action): string {
  const { do: name, ...fields } = action;
  const told = Object.entries(fields).filter(([, value]) => value !== undefined);
  return [name, ...told.map(([field, value]) => `${field} ${JSON.stringify(value)}`)].join(', ');
}

/** As events of a scenario file; undefined: FORMAT.md has no word for it. */
export function asEvents(action: Action): object[] | undefined {
  switch (action.do) {
    case 'settle':
      return [{ settle: true }];
    case 'restart':
      return [{ restart: true }];
    case 'advance':
      return [{ advance: action.seconds }];
    case 'crash':
      return [{ crash: action.worker }];
    case 'cancel':
      return action.runs.map((run) => ({ cancel: run, ...(action.force ? { force: true } : {}) }));
    case 'apply':
      return [{ apply: action.config, ...refusal(action.rejected) }];
    case 'submit':
      return submissions(action);
    case 'end':
      return endings(action);
    default:
      return undefined;
  }
}

const refusal = (rejected?: string) => (rejected === undefined ? {} : { rejected });

/** Of a batch that is refused, the one that is wrong. */
function submissions({ runs, rejected, again }: Extract<Action, { do: 'submit' }>): object[] | undefined {
  if (again) return undefined;
  return rejected === undefined ? runs : [{ ...runs.at(-1), rejected }];
}

function endings({ worker, endings, late }: Extract<Action, { do: 'end' }>): object[] | undefined {
  if (late === 'over') return undefined;
  return endings.map(({ step, attempt, fails }) => ({
    [fails ? 'fail' : 'finish']: step,
    ...(late ? { worker, attempt, refused: true } : {}),
  }));
}
