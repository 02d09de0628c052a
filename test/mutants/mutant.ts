/** A mutant: one seeded fault, as data. */

export type Mutant = {
  /** For `npm run mutants -- NAME`. */
  name: string;
  /** The file with the fault, from the root of the repository. */
  file: string;
  /** What stands there, exactly once. */
  text: string;
  /** What stands there instead. */
  fault: string;
  /** What a user would suffer from it. */
  harm: string;
  /** The test files that most likely notice it, tried first. */
  likely: readonly string[];
};

/** The file's content with the fault in it; throws unless the text is found exactly once, and is something else then. */
export function mutated(content: string, { name, file, text, fault }: Mutant): string {
  const found = content.split(text).length - 1;
  if (found !== 1)
    throw new Error(`mutant ${name}: its text is found ${found} times in ${file}; it must be once`);
  if (text === fault) throw new Error(`mutant ${name} changes nothing`);
  return content.replace(text, () => fault);
}
