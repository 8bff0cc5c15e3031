import { setTimeout as sleep } from 'node:timers/promises';
import { CacheError } from '../errors.js';
import { tryTake } from '../thread/shared-count.js';

/** What all zstd windows that are open at once may have together, in bytes: two of the largest that are read. */
export const WINDOW_MEMORY = 1024 ** 3;

/** The unit that windows are counted in, in bytes. */
const MIB = 1024 ** 2;
/** How long to wait before the next look, in milliseconds. */
const PAUSE = 10;

/**
 * Waits until there is room for a window.
 *
 * @param size - in bytes
 * @param limit - what all windows may have together, in bytes
 * @param where - the blob, for the message
 * @returns gives the room back
 * @throws CacheError FAILED for a window that alone is over the limit; the signal's reason
 */
export async function reserveWindow(
  size: number,
  limit: number,
  where: string,
  signal?: AbortSignal,
): Promise<() => void> {
  const wanted = Math.ceil(size / MIB);
  const most = Math.floor(limit / MIB);
  if (wanted > most) {
    throw new CacheError('FAILED', `${where}: the zstd stream has a window of ${wanted} MiB, and ${most} are allowed`, {
      hint: 'allow more with --window-memory, or compress the layer with a smaller window, as with "zstd --long=27"',
    });
  }
  for (;;) {
    const giveBack = tryTake(wanted, most);
    if (giveBack !== undefined) return giveBack;
    await sleep(PAUSE, undefined, { signal });
  }
}
