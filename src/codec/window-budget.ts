import { setTimeout as sleep } from 'node:timers/promises';
import { CacheError } from '../errors.js';

/** What all zstd windows that are open at once may have together, in bytes: two of the largest that are read. */
export const WINDOW_MEMORY = 1024 ** 3;

const MIB = 1024 ** 2;
/** How long to wait before the next look, in milliseconds. */
const PAUSE = 10;

/** Where MiB that are in use are counted: those of all threads of the process, and those of one. */
export interface WindowCount {
  readonly all: SharedArrayBuffer;
  readonly own: SharedArrayBuffer;
}

const counter = () => new SharedArrayBuffer(Int32Array.BYTES_PER_ELEMENT);

let all = new Int32Array(counter());
let own = new Int32Array(counter());

/** What another thread counts with. */
export function countForThread(): WindowCount {
  return { all: all.buffer, own: counter() };
}

/** Counts from now on with what another thread has made for this one. */
export function countWith(count: WindowCount): void {
  all = new Int32Array(count.all);
  own = new Int32Array(count.own);
}

/** Gives back what a thread had in use, which has ended without doing so. */
export function giveBack(count: WindowCount): void {
  Atomics.sub(all, 0, Atomics.exchange(new Int32Array(count.own), 0, 0));
}

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
    const now = Atomics.load(all, 0);
    if (now + wanted > most) await sleep(PAUSE, undefined, { signal });
    else if (Atomics.compareExchange(all, 0, now, now + wanted) === now) break;
  }
  Atomics.add(own, 0, wanted);
  let isHeld = true;
  return () => {
    if (!isHeld) return;
    isHeld = false;
    Atomics.sub(own, 0, wanted);
    Atomics.sub(all, 0, wanted);
  };
}
