import { areThreadsEnding } from '../codec/thread.js';

/**
 * Lets the process end at once although threads are still ending, for which Node would wait: all files are closed, and
 * what was begun has been taken back.
 */
export async function leaveThreads(): Promise<void> {
  if (!areThreadsEnding()) return;
  const { default: koffi } = await import('koffi');
  const exit = koffi.load(null).func('void _exit(int status)') as (status: number) => void;
  process.once('exit', exit);
}
