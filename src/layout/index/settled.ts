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
/** How long ago a file was changed whose next change is sure to give it another time. Some filesystems have whole seconds. */
const STAMPED = 3000;

/**
 * What the system says of a file. While it stays the same, so do the bytes: it is only taken of a file that nobody had
 * changed for some seconds, so that a later change shows in the times.
 */
export interface Stamp {
  readonly inode: bigint;
  readonly size: bigint;
  /** In nanoseconds since 1970. */
  readonly changed: bigint;
  readonly written: bigint;
}

/** A file as it was read. */
export interface SettledFile {
  /** Undefined where there is no file. */
  readonly bytes: Buffer | undefined;
  /** Undefined for a file that was changed lately. */
  readonly stamp: Stamp | undefined;
}

/**
 * Makes something of a file that others write in place: of what two readings agree on. Where that is nothing that can
 * be understood, another process may be in the middle of writing it; it is read again for a while, and in the end with the
 * shared lock.
 *
 * @param make - throws CacheError CORRUPT for what is not understood
 */
export async function settled<T>(
  path: string,
  make: (bytes: Buffer | undefined, stamp: Stamp | undefined) => T,
  options: LockOptions,
): Promise<T> {
  const start = performance.now();
  for (let before = readNow(path); ;) {
    // A file that nobody has written lately is read again at once.
    if (before.isYoung || performance.now() - start > TORN_PAUSE) await sleep(TORN_PAUSE, undefined, options);
    const now = readNow(path);
    const agree = sameBytes(before.bytes, now.bytes);
    const outcome = agree ? attempt(() => make(now.bytes, now.stamp)) : undefined;
    if (outcome !== undefined) return outcome.value;
    if (performance.now() - start > (agree ? TORN_PAUSE * TORN_TRIES : UNSETTLED)) break;
    before = now;
  }
  const { withLock } = await import('../lock/lock.js');
  for (let before: Buffer | undefined, tries = 1; ; tries++) {
    const { bytes, stamp } = await withLock(path, 'shared', () => readNow(path), options);
    // BuildKit may have deleted the lock file under our lock, so that a build goes on writing in spite of it.
    if (tries === TORN_TRIES || (tries > 1 && sameBytes(before, bytes))) return make(bytes, stamp);
    const outcome = attempt(() => make(bytes, stamp));
    if (outcome !== undefined) return outcome.value;
    before = bytes;
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

function readNow(path: string): SettledFile & { readonly isYoung: boolean } {
  const now = readFileNow(path);
  if (now === undefined) return { bytes: undefined, stamp: undefined, isYoung: false };
  const { bytes, stamp } = now;
  const age = (time: bigint) => Math.abs(Date.now() - Number(time / 1_000_000n));
  const isOld = age(stamp.written) > STAMPED && age(stamp.changed) > STAMPED;
  return { bytes, stamp: isOld ? stamp : undefined, isYoung: age(stamp.written) < YOUNG };
}

/**
 * A file in the root of a layout as it is at this instant, whole; undefined where there is none.
 *
 * @throws CacheError CORRUPT for a link, for something that is no regular file, and for one that is too large
 */
export function readFileNow(path: string): { readonly bytes: Buffer; readonly stamp: Stamp } | undefined {
  const fd = openNow(path);
  if (fd === undefined) return undefined;
  try {
    const stamp = stampOf(fd);
    const length = Number(stamp.size);
    if (length > JSON_LIMIT) {
      throw new CacheError('CORRUPT', `${path} has ${length} bytes; over the limit of ${JSON_LIMIT}`);
    }
    const bytes = Buffer.allocUnsafe(length);
    let size = 0;
    for (let read = -1; read !== 0 && size < bytes.length;) {
      read = readSync(fd, bytes, size, bytes.length - size, size);
      size += read;
    }
    return { bytes: bytes.subarray(0, size), stamp };
  } finally {
    closeSync(fd);
  }
}

/** Before the bytes are read: those of a file that is changed meanwhile never go with the stamp of the changed file. */
function stampOf(fd: number): Stamp {
  const { ino: inode, size, ctimeNs: changed, mtimeNs: written } = fstatSync(fd, { bigint: true });
  return { inode, size, changed, written };
}

/** In bytes; larger pieces take longer to come into being than to be read. */
const PIECE = 256 * 1024;

/**
 * Whether a file in the root of a layout has the very bytes at this instant that were read of it. For a look under the
 * lock: it takes some microseconds where the stamp is the same, and otherwise a millisecond for some megabytes.
 *
 * @returns its inode, 0 for no file; undefined when it has other bytes
 * @throws CacheError CORRUPT for something that is no regular file
 */
export function inodeOfSame(path: string, { bytes, stamp: before }: SettledFile): bigint | undefined {
  const fd = openNow(path);
  if (fd === undefined) return bytes === undefined ? 0n : undefined;
  try {
    const stamp = stampOf(fd);
    if (before !== undefined && isSameStamp(stamp, before)) return stamp.inode;
    if (bytes === undefined || stamp.size !== BigInt(bytes.length)) return undefined;
    const piece = Buffer.allocUnsafe(Math.min(PIECE, bytes.length));
    for (let at = 0; at < bytes.length;) {
      const read = readSync(fd, piece, 0, piece.length, at);
      if (read === 0 || bytes.compare(piece, 0, read, at, at + read) !== 0) return undefined;
      at += read;
    }
    return stamp.inode;
  } finally {
    closeSync(fd);
  }
}

function isSameStamp(a: Stamp, b: Stamp): boolean {
  return a.inode === b.inode && a.size === b.size && a.changed === b.changed && a.written === b.written;
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
