/** The bare timers; everything else that waits is built on them. */

/** Resolves after so many milliseconds, or at once when `signal` is aborted. */
export function delay(milliseconds: number, signal?: AbortSignal): Promise<void> {
  if (signal?.aborted) return Promise.resolve();
  return new Promise((resolve) => {
    const done = () => {
      clearTimeout(timer);
      signal?.removeEventListener('abort', done);
      resolve();
    };
    const timer = setTimeout(done, milliseconds);
    signal?.addEventListener('abort', done);
  });
}

/** Resolves when what is due right now was called: timers that end at the same time, and what has come from the network. */
export function afterWhatIsDue(): Promise<void> {
  return new Promise((resolve) => {
    setImmediate(resolve);
  });
}
