/** Does nothing else for so long: the event loop stands still. */
export function block(milliseconds: number): void {
  const until = process.hrtime.bigint() + BigInt(milliseconds) * 1_000_000n;
  while (process.hrtime.bigint() < until);
}
