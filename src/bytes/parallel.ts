import { setMaxListeners } from 'node:events';

/**
 * Runs a task for every item, a few at a time, in the order given. The first failure stops the others, and is thrown
 * once they have stopped.
 *
 * @param limit - how many at once
 */
export async function parallel<T>(
  items: readonly T[],
  limit: number,
  outer: AbortSignal | undefined,
  task: (item: T, signal: AbortSignal) => Promise<void>,
): Promise<void> {
  const failure = new AbortController();
  const signal = outer === undefined ? failure.signal : AbortSignal.any([outer, failure.signal]);
  // Each of the tasks listens, and Node takes more than ten listeners for a leak.
  setMaxListeners(0, signal);
  const queue = items.values();
  const worker = async () => {
    for (const item of queue) {
      if (signal.aborted) return;
      try {
        await task(item, signal);
      } catch (error) {
        // Only the first one: the others fail because of it.
        failure.abort(error);
      }
    }
  };
  await Promise.all(Array.from({ length: Math.max(1, limit) }, worker));
  signal.throwIfAborted();
}
