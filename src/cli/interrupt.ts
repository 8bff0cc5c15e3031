import { CacheError } from '../errors.js';

const EXIT_CODES = { SIGINT: 130, SIGTERM: 143, SIGHUP: 129, SIGQUIT: 131 } as const;
type Signal = keyof typeof EXIT_CODES;
const SIGNALS = Object.keys(EXIT_CODES) as readonly Signal[];

/** How long what was begun may take to be taken back, in milliseconds. */
const PATIENCE = 5000;
const SHOW_CURSOR = '\u001b[?25h';

/**
 * Runs what a verb does until it is done or somebody stops it. The first signal aborts it: what was begun is taken back,
 * and the command ends with the signal's exit code. A second signal ends it at once, and so does the end of patience:
 * a system call that hangs, as on a network disk that is gone, must not keep the process.
 *
 * @param kept - what is there for the next run, where something is; for the message
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
    // Not for long: until the process ends, which this does not keep from ending.
    setTimeout(endBy, PATIENCE, name).unref();
  };
  for (const name of SIGNALS) process.on(name, stop);
  try {
    return await run(interrupt.signal);
  } catch (error) {
    if (!interrupt.signal.aborted) throw error;
    // With koffi loaded the process does not wait for threads that have not ended yet: see `native`.
    const { areThreadsEnding } = await import('../thread/thread.js');
    if (areThreadsEnding()) await import('../layout/lock/flock.js');
    // Whatever it was that failed, it failed because of that.
    throw interrupt.signal.reason;
  } finally {
    if (!interrupt.signal.aborted) for (const name of SIGNALS) process.off(name, stop);
  }
}

/** Ends the process as the signal would have without anybody who handles it. */
function endBy(name: Signal): void {
  if (process.stderr.isTTY) process.stderr.write(SHOW_CURSOR);
  for (const one of SIGNALS) process.removeAllListeners(one);
  // What SIGQUIT does of itself is a core dump.
  process.kill(process.pid, name === 'SIGQUIT' ? 'SIGTERM' : name);
}
