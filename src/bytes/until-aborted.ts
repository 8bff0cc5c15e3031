import { until } from './until.js';

/**
 * Passes bytes on until a signal aborts, also while it waits for the next ones: those of a pipe may never come.
 *
 * @throws the reason of the signal
 */
export async function* untilAborted(
  bytes: AsyncIterable<Uint8Array>,
  signal: AbortSignal | undefined,
): AsyncGenerator<Uint8Array, void, undefined> {
  const source = bytes[Symbol.asyncIterator]();
  try {
    for (;;) {
      const next = await until(Promise.resolve(source.next()), signal);
      if (next.done === true) return;
      yield next.value;
    }
  } finally {
    // What waits for bytes cannot be ended before they come.
    if (signal?.aborted !== true) await source.return?.();
  }
}
