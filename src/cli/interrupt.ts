import { CacheError } from '../errors.js';

const EXIT_CODES = { SIGINT: 130, SIGTERM: 143 } as const;
const STOPPED = 'stopped; nothing was left half done';

/**
 * Runs what a verb does until it is done or somebody stops it: with Ctrl-C or SIGTERM the signal is aborted, what was
 * begun is taken back, and the command ends with exit code 130 or 143. A second Ctrl-C does not wait for that.
 */
export async function untilInterrupted<T>(run: (signal: AbortSignal) => Promise<T>): Promise<T> {
  const interrupt = new AbortController();
  const stop = (name: keyof typeof EXIT_CODES) => {
    process.exitCode = EXIT_CODES[name];
    interrupt.abort(new CacheError('ABORTED', STOPPED));
  };
  process.once('SIGINT', stop).once('SIGTERM', stop);
  try {
    return await run(interrupt.signal);
  } catch (error) {
    if (interrupt.signal.aborted) await (await import('./leave.js')).leaveThreads();
    // Whatever it was that failed, it failed because of that.
    throw interrupt.signal.aborted ? interrupt.signal.reason : error;
  } finally {
    process.off('SIGINT', stop).off('SIGTERM', stop);
  }
}
