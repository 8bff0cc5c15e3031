import { setImmediate as afterOthers } from 'node:timers/promises';

/** How long the main thread may be busy without a pause, in milliseconds. */
const LONGEST = 10;

let since = performance.now();

/**
 * Lets timers, signals and other tasks run, if none could for some milliseconds. For loops of synchronous calls: files that
 * are read in microseconds are read at once, since to have another thread do it takes ten times as long.
 */
export async function letOthersRun(): Promise<void> {
  if (performance.now() - since < LONGEST) return;
  await afterOthers();
  since = performance.now();
}
