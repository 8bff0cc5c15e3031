import { setTimeout as sleep } from 'node:timers/promises';
import { CacheError } from '../errors.js';
import { tryTake } from '../thread/shared-count.js';

/** The unit that windows are counted in, in bytes. */
const MIB = 1024 ** 2;
/** The pause between two checks, in milliseconds. */
const PAUSE = 10;

/**
 * Waits until there is memory for a window.
 *
 * @param size - the size of the window, in bytes
 * @param limit - the memory for all windows, in bytes
 * @param where - the blob, for the message
 * @returns a function that frees the memory
 * @throws CacheError FAILED for a window over the limit; the signal's reason
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
