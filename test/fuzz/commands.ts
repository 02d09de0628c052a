/**
 * Random commands as plain data. A command names nothing: it counts (`run: 7` is the seventh run that there is, over
 * and over), so that any part of a list of commands still says something, and a list can be shrunk.
 */
import fc from 'fast-check';

/** A submission in numbers; 0 everywhere is the plainest. */
export type Wish = {
  job: number;
  tags: number;
  priority: number;
  deployment: number;
  max_concurrent: number;
  keyed: boolean;
};

export type Command =
  | { do: 'settle' }
  | { do: 'submit'; runs: Wish[] }
  | { do: 'submit wrongly'; runs: Wish[]; wrong: number }
  | { do: 'submit again'; run: number }
  | { do: 'send'; run: Wish; wrong: boolean }
  | { do: 'end'; steps: { step: number; fails: boolean }[] }
  | { do: 'end late'; step: number; fails: boolean }
  | { do: 'end again'; step: number; fails: boolean }
  | { do: 'claim again'; worker: number; older: boolean }
  | { do: 'cancel'; runs: number[]; force: boolean }
  | { do: 'apply'; seed: number }
  | { do: 'apply wrongly'; seed: number }
  | { do: 'override'; limit: number; capacity: number }
  | { do: 'unset override'; limit: number }
  | { do: 'pause'; what: number; counts: number }
  | { do: 'resume'; what: number }
  | { do: 'set priority'; run: number; priority: number }
  | { do: 'cancel ticket' | 'delete ticket' | 'fetch ticket'; run: number }
  | { do: 'audit' | 'archive' }
  | { do: 'restart' }
  | { do: 'crash' | 'stop'; worker: number }
  | { do: 'start'; worker: number }
  | { do: 'advance'; seconds: number };

const some = fc.nat(99);
const rarely = (cases: number) => fc.nat(99).map((n) => n >= 100 - cases);
/** 0 in most cases. */
const mostlyNone = (most: number, cases: number) =>
  fc.oneof({ weight: 100 - cases, arbitrary: fc.constant(0) }, { weight: cases, arbitrary: fc.nat(most) });

const wish: fc.Arbitrary<Wish> = fc.record({
  job: some,
  tags: fc.nat(255),
  priority: mostlyNone(6, 40),
  deployment: mostlyNone(3, 65),
  max_concurrent: mostlyNone(3, 20),
  keyed: fc.boolean(),
});

const seed = fc.noShrink(fc.nat(1_000_000_000));
const word = <const D extends Command['do']>(name: D) => fc.constant(name);

/** How likely beside the others, and what. */
const weighted: fc.WeightedArbitrary<Command>[] = [
  { weight: 28, arbitrary: fc.record({ do: word('settle') }) },
  {
    weight: 18,
    arbitrary: fc.record({ do: word('submit'), runs: fc.array(wish, { minLength: 1, maxLength: 4 }) }),
  },
  {
    weight: 15,
    arbitrary: fc.record({
      do: word('end'),
      steps: fc.array(fc.record({ step: some, fails: rarely(25) }), { minLength: 1, maxLength: 4 }),
    }),
  },
  {
    weight: 5,
    arbitrary: fc.record({
      do: word('cancel'),
      runs: fc.array(some, { minLength: 1, maxLength: 3 }),
      force: rarely(30),
    }),
  },
  { weight: 5, arbitrary: fc.record({ do: word('apply'), seed }) },
  { weight: 1, arbitrary: fc.record({ do: word('apply wrongly'), seed }) },
  {
    weight: 1,
    arbitrary: fc.record({ do: word('submit wrongly'), runs: fc.array(wish, { maxLength: 3 }), wrong: seed }),
  },
  { weight: 1, arbitrary: fc.record({ do: word('submit again'), run: some }) },
  { weight: 2, arbitrary: fc.record({ do: word('send'), run: wish, wrong: rarely(20) }) },
  { weight: 3, arbitrary: fc.record({ do: word('end late'), step: some, fails: fc.boolean() }) },
  { weight: 2, arbitrary: fc.record({ do: word('end again'), step: some, fails: fc.boolean() }) },
  { weight: 2, arbitrary: fc.record({ do: word('claim again'), worker: some, older: rarely(30) }) },
  { weight: 2, arbitrary: fc.record({ do: word('override'), limit: some, capacity: fc.nat(4) }) },
  { weight: 1, arbitrary: fc.record({ do: word('unset override'), limit: some }) },
  { weight: 2, arbitrary: fc.record({ do: word('pause'), what: some, counts: fc.nat(2) }) },
  { weight: 2, arbitrary: fc.record({ do: word('resume'), what: some }) },
  { weight: 2, arbitrary: fc.record({ do: word('set priority'), run: some, priority: fc.nat(6) }) },
  { weight: 1, arbitrary: fc.record({ do: word('cancel ticket'), run: some }) },
  { weight: 1, arbitrary: fc.record({ do: word('delete ticket'), run: some }) },
  { weight: 1, arbitrary: fc.record({ do: word('fetch ticket'), run: some }) },
  { weight: 1, arbitrary: fc.record({ do: word('audit') }) },
  { weight: 1, arbitrary: fc.record({ do: word('archive') }) },
  { weight: 1, arbitrary: fc.record({ do: word('restart') }) },
  { weight: 1, arbitrary: fc.record({ do: word('crash'), worker: some }) },
  { weight: 1, arbitrary: fc.record({ do: word('stop'), worker: some }) },
  { weight: 1, arbitrary: fc.record({ do: word('start'), worker: some }) },
  { weight: 3, arbitrary: fc.record({ do: word('advance'), seconds: fc.nat(5) }) },
];

/** Lists of at most so many commands. */
export function commandLists(length: number): fc.Arbitrary<Command[]> {
  return fc.noBias(fc.array(fc.oneof(...weighted), { maxLength: length, size: 'max' }));
}
