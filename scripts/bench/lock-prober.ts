import { closeSync, constants, openSync, rmSync } from 'node:fs';
import { tryFlock } from '../../src/layout/lock/flock.js';

// Tries the lock on an index again and again until its standard input ends, as BuildKit does (client/ociindex/ociindex.go):
// without waiting, and with the lock file deleted after it is unlocked, whoever has it by then. It prints what came of it.

/** What came of some tries. Times are in milliseconds. */
export interface Tries {
  readonly tries: number;
  readonly refused: number;
  /** From the first refusal in a row to the try that was not refused. */
  readonly longest: number;
  readonly total: number;
}

const [lock = '', kind = 'exclusive'] = process.argv.slice(2);
/** For how long to try without looking whether it is time to end. */
const SLICE = 20;

let [tries, refused, longest, total] = [0, 0, 0, 0];
let since: number | undefined;
let isEnding = false;
process.stdin.on('end', () => (isEnding = true)).resume();

function isRefused(): boolean {
  const fd = openSync(lock, constants.O_RDONLY | constants.O_CREAT, 0o600);
  try {
    return !tryFlock(fd, kind === 'shared' ? 'shared' : 'exclusive');
  } finally {
    closeSync(fd);
  }
}

function probe(): void {
  for (const end = performance.now() + SLICE; performance.now() < end;) {
    const before = performance.now();
    const isTaken = isRefused();
    tries++;
    if (isTaken) {
      refused++;
      since ??= before;
    } else {
      rmSync(lock, { force: true });
      if (since !== undefined) {
        total += before - since;
        longest = Math.max(longest, before - since);
        since = undefined;
      }
    }
    // Whoever waits for the lock has to get it some time.
    while (performance.now() - before < 0.1);
  }
  if (!isEnding) {
    setImmediate(probe);
    return;
  }
  const report: Tries = { tries, refused, longest, total };
  process.stdout.write(JSON.stringify(report));
  rmSync(lock, { force: true });
}

process.stdout.write('\n');
probe();
