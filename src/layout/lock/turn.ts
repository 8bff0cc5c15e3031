import { closeSync } from 'node:fs';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { openFolderNow } from '../files/open-file.js';

/** The longest wait, in milliseconds; the process that has the turn may have been stopped. */
const LONGEST = 1000;
const LONGEST_PAUSE = 10;

/**
 * Waits until no other bkcache is making a new index.json here. Each makes it from the one that it finds, and would begin
 * again whenever another was faster. It is a courtesy: a process that waits for too long goes on without it, and so does
 * everybody where folders cannot be locked. BuildKit neither sees nor meets it.
 */
export async function takeTurn(
  root: string,
  signal: AbortSignal | undefined,
): Promise<{ readonly release: () => void }> {
  const fd = openUnlessRefused(join(root, 'blobs'));
  if (fd === undefined) return { release: () => undefined };
  const deadline = performance.now() + LONGEST;
  try {
    const { tryFlock } = await import('./flock.js');
    while (!isTaken(() => tryFlock(fd, 'exclusive')) && performance.now() < deadline) {
      await sleep(1 + Math.random() * (LONGEST_PAUSE - 1), undefined, { signal });
    }
  } catch (error) {
    closeSync(fd);
    throw error;
  }
  return { release: () => closeSync(fd) };
}

/** Without such locks there is no wait. */
function isTaken(lock: () => boolean): boolean {
  try {
    return lock();
  } catch {
    return true;
  }
}

function openUnlessRefused(path: string): number | undefined {
  try {
    return openFolderNow(path);
  } catch {
    return undefined;
  }
}
