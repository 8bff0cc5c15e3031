import { closeSync, fstatSync, readSync } from 'node:fs';
import { dirname } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { CacheError, isSystemError } from '../../errors.js';
import { JSON_LIMIT } from '../../oci/json.js';
import type { LockOptions } from '../lock/lock.js';
import { openRegularNow } from '../files/open-file.js';

// How BuildKit writes index.json: under its lock, in place (client/ociindex/ociindex.go, Put). Who reads at that moment
// sees a part of it. bkcache renames, so that its own readers need no lock. All times are in milliseconds.

/** Between two looks at a file that is being written. */
export const TORN_PAUSE = 5;
/** How often to look at a file that another process has begun to write. */
export const TORN_TRIES = 20;
/** How long ago a file was written that may still be being written. */
const YOUNG = 100;
/** How long to look at a file that is another one each time, without the lock. */
const UNSETTLED = 1000;

/**
 * Makes something of a file that others write in place: of what two readings agree on. Where that is nothing that can
 * be understood, another process may be in the middle of writing it; it is read again for a while, and in the end with the
 * shared lock.
 *
 * @param make - throws CacheError CORRUPT for what is not understood
 */
export async function settled<T>(
  path: string,
  make: (bytes: Buffer | undefined) => T,
  options: LockOptions,
): Promise<T> {
  const start = performance.now();
  for (let [before, isYoung] = readNow(path); ;) {
    // A file that nobody has written lately is read again at once.
    if (isYoung || performance.now() - start > TORN_PAUSE) await sleep(TORN_PAUSE, undefined, options);
    const [now, isYoungNow] = readNow(path);
    const agree = sameBytes(before, now);
    const outcome = agree ? attempt(() => make(now)) : undefined;
    if (outcome !== undefined) return outcome.value;
    if (performance.now() - start > (agree ? TORN_PAUSE * TORN_TRIES : UNSETTLED)) break;
    [before, isYoung] = [now, isYoungNow];
  }
  const { withLock } = await import('../lock/lock.js');
  for (let before: Buffer | undefined, tries = 1; ; tries++) {
    const [now] = await withLock(path, 'shared', () => readNow(path), options);
    // BuildKit may have deleted the lock file under our lock, so that a build goes on writing in spite of it.
    if (tries === TORN_TRIES || (tries > 1 && sameBytes(before, now))) return make(now);
    const outcome = attempt(() => make(now));
    if (outcome !== undefined) return outcome.value;
    before = now;
    await sleep(TORN_PAUSE, undefined, options);
  }
}

/** @returns undefined for what is not understood */
function attempt<T>(make: () => T): { readonly value: T } | undefined {
  try {
    return { value: make() };
  } catch (error) {
    if (error instanceof CacheError && error.code === 'CORRUPT') return undefined;
    throw error;
  }
}

function readNow(path: string): readonly [bytes: Buffer | undefined, isYoung: boolean] {
  const now = readFileNow(path);
  return [now?.bytes, now !== undefined && Math.abs(Date.now() - now.time) < YOUNG];
}

/**
 * A file in the root of a layout as it is at this instant, whole; undefined where there is none.
 *
 * @throws CacheError CORRUPT for a link, for something that is no regular file, and for one that is too large
 */
export function readFileNow(
  path: string,
): { readonly bytes: Buffer; readonly inode: number; readonly time: number } | undefined {
  const fd = openNow(path);
  if (fd === undefined) return undefined;
  try {
    const stats = fstatSync(fd);
    if (stats.size > JSON_LIMIT) {
      throw new CacheError('CORRUPT', `${path} has ${stats.size} bytes; over the limit of ${JSON_LIMIT}`);
    }
    const bytes = Buffer.allocUnsafe(stats.size);
    let size = 0;
    for (let read = -1; read !== 0 && size < bytes.length;) {
      read = readSync(fd, bytes, size, bytes.length - size, size);
      size += read;
    }
    return { bytes: bytes.subarray(0, size), inode: stats.ino, time: stats.mtimeMs };
  } finally {
    closeSync(fd);
  }
}

/** In bytes; larger pieces take longer to come into being than to be read. */
const PIECE = 256 * 1024;

/**
 * Whether a file in the root of a layout has these very bytes at this instant; undefined stands for no file. For a look
 * under the lock: it takes a millisecond for some megabytes.
 *
 * @returns its inode, 0 for no file; undefined when it has other bytes
 * @throws CacheError CORRUPT for something that is no regular file
 */
export function inodeOfSame(path: string, bytes: Buffer | undefined): number | undefined {
  const fd = openNow(path);
  if (fd === undefined) return bytes === undefined ? 0 : undefined;
  try {
    const stats = fstatSync(fd);
    if (stats.size !== bytes?.length) return undefined;
    const piece = Buffer.allocUnsafe(Math.min(PIECE, bytes.length));
    for (let at = 0; at < bytes.length;) {
      const read = readSync(fd, piece, 0, piece.length, at);
      if (read === 0 || bytes.compare(piece, 0, read, at, at + read) !== 0) return undefined;
      at += read;
    }
    return stats.ino;
  } finally {
    closeSync(fd);
  }
}

function openNow(path: string): number | undefined {
  try {
    return openRegularNow(path);
  } catch (error) {
    if (isSystemError(error, 'ENOENT', 'ENOTDIR')) return undefined;
    throw error instanceof CacheError && error.hint === undefined ? withHint(error, path) : error;
  }
}

/** Of a pipe, a folder or a device in the place of index.json. */
function withHint(cause: CacheError, path: string): CacheError {
  const hint = `move it elsewhere; "bkcache repair ${dirname(path)}" then finds the caches again`;
  return new CacheError(cause.code, cause.message, { hint, wrong: cause.wrong, cause });
}

/** Whether a file has not changed; undefined stands for none. */
export function sameBytes(a: Buffer | undefined, b: Buffer | undefined): boolean {
  return a === undefined || b === undefined ? a === b : a.equals(b);
}
