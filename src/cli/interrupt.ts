import { CacheError } from '../errors.js';

const EXIT_CODES = { SIGINT: 130, SIGTERM: 143 } as const;
const STOPPED = 'stopped; nothing was left half done';
/** How long taking back may last, in milliseconds: a call to a disk or a pipe that never returns cannot be taken back. */
const LONGEST = 5000;

/**
 * Runs what a verb does until it is done or somebody stops it: with Ctrl-C or SIGTERM the signal is aborted, what was
 * begun is taken back, and the command ends with exit code 130 or 143. A second Ctrl-C does not wait for that, and
 * neither does anything once it takes too long.
 */
export async function untilInterrupted<T>(run: (signal: AbortSignal) => Promise<T>): Promise<T> {
  const interrupt = new AbortController();
  const stop = (name: keyof typeof EXIT_CODES) => {
    process.exitCode = EXIT_CODES[name];
    interrupt.abort(new CacheError('ABORTED', STOPPED));
    // What gc would find of it after a kill is all that is left then.
    setTimeout(() => dieOf(name), LONGEST).unref();
  };
  process.once('SIGINT', stop).once('SIGTERM', stop);
  try {
    return await run(interrupt.signal);
  } catch (error) {
    if (interrupt.signal.aborted) await (await import('./leave.js')).leaveAtOnce();
    // Whatever it was that failed, it failed because of that.
    throw interrupt.signal.aborted ? interrupt.signal.reason : error;
  } finally {
    process.off('SIGINT', stop).off('SIGTERM', stop);
  }
}

/** Node's own way out waits for calls that do not return; the system's does not. */
function dieOf(name: keyof typeof EXIT_CODES): void {
  process.removeAllListeners(name);
  process.kill(process.pid, name);
}
