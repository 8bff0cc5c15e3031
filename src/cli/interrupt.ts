import { CacheError } from '../errors.js';

const EXIT_CODES = { SIGINT: 130, SIGTERM: 143, SIGHUP: 129, SIGQUIT: 131 } as const;
type Signal = keyof typeof EXIT_CODES;
const SIGNALS = Object.keys(EXIT_CODES) as readonly Signal[];

/** How long the verb may take to undo what it began, in milliseconds. */
const UNDO_TIMEOUT = 5000;
const SHOW_CURSOR = '\u001b[?25h';

/**
 * Runs a verb until it is done or a signal stops it. The first signal aborts the verb: it undoes what it began, and the
 * command ends with the signal's exit code. A second signal ends the process at once, and so does UNDO_TIMEOUT: a
 * system call that hangs, for example on a network disk that is gone, must not keep the process.
 *
 * @param kept - what the next run can use, for the message; undefined for nothing
 */
export async function untilInterrupted<T>(
  run: (signal: AbortSignal) => Promise<T>,
  kept: () => string | undefined = () => undefined,
): Promise<T> {
  const interrupt = new AbortController();
  const stop = (name: Signal) => {
    if (interrupt.signal.aborted) endBy(name);
    process.exitCode = EXIT_CODES[name];
    const rest = kept();
    interrupt.abort(new CacheError('ABORTED', `stopped by ${name}${rest === undefined ? '' : `; ${rest}`}`));
    // The timer does not keep the process from ending earlier.
    setTimeout(endBy, UNDO_TIMEOUT, name).unref();
  };
  for (const name of SIGNALS) process.on(name, stop);
  try {
    return await run(interrupt.signal);
  } catch (error) {
    if (!interrupt.signal.aborted) throw error;
    // With koffi loaded the process does not wait for threads that have not ended yet: see `native`.
    const { areThreadsEnding } = await import('../thread/thread.js');
    if (areThreadsEnding()) await import('../layout/lock/flock.js');
    // After an abort every failure has the abort as its cause.
    throw interrupt.signal.reason;
  } finally {
    if (!interrupt.signal.aborted) for (const name of SIGNALS) process.off(name, stop);
  }
}

/** Ends the process as the signal does when no handler is installed. */
function endBy(name: Signal): void {
  if (process.stderr.isTTY) process.stderr.write(SHOW_CURSOR);
  for (const one of SIGNALS) process.removeAllListeners(one);
  // The default of SIGQUIT is a core dump.
  process.kill(process.pid, name === 'SIGQUIT' ? 'SIGTERM' : name);
}
