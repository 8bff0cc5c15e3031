import { accessSync, closeSync, constants, lstatSync, openSync, rmSync, statSync } from 'node:fs';
import { dirname } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { CacheError, isSystemError } from '../../errors.js';
import type { Flock, LockKind } from './flock.js';
import { inheritOwnership } from '../files/ownership.js';
import { isSameFile } from '../files/same-file.js';
import { DEFAULT_LAYOUT_SETTINGS } from '../settings.js';

const LONGEST_PAUSE = 20;

export interface LockOptions {
  /** In milliseconds; 0 gives up at once. */
  readonly timeout?: number | undefined;
  readonly signal?: AbortSignal | undefined;
}

/** A lock that was taken. Its disposal deletes the lock file, as BuildKit does, and gives the lock up. */
export interface IndexLock extends Disposable {
  /**
   * Whether others still meet this lock. BuildKit deletes the lock file after it has given its lock up, and so may
   * delete the one that another process has taken by then.
   */
  isSeen(): boolean;
}

const NO_LOCK: IndexLock = { isSeen: () => true, [Symbol.dispose]: () => undefined };

/**
 * Runs a function under BuildKit's lock on an index: see `acquireLock`.
 *
 * BuildKit does not wait for this lock: a build that meets it skips its import, or fails its export. The lock may last a
 * few milliseconds at most. The function is therefore synchronous: no other task of this process can run in between.
 *
 * @throws CacheError BUSY when another process keeps the lock until the timeout, FAILED where the filesystem has no such locks
 */
export async function withLock<T>(
  indexPath: string,
  kind: LockKind,
  run: (lock: IndexLock) => T,
  options: LockOptions = {},
): Promise<T> {
  using lock = await acquireLock(indexPath, kind, options);
  return run(lock);
}

/**
 * Takes BuildKit's lock on an index (client/ociindex/ociindex.go): flock(2) on index.json.lock, which is deleted
 * afterwards. Where the folder cannot be written to, a reader goes on without it.
 *
 * @throws CacheError BUSY when another process keeps the lock until the timeout, FAILED where the filesystem has no such locks
 */
export async function acquireLock(
  indexPath: string,
  kind: LockKind,
  { timeout = DEFAULT_LAYOUT_SETTINGS.lockTimeout, signal }: LockOptions = {},
): Promise<IndexLock> {
  const path = `${indexPath}.lock`;
  // The time of day may be set while this waits.
  const deadline = performance.now() + timeout;
  const { tryFlock } = await import('./flock.js');
  for (;;) {
    signal?.throwIfAborted();
    const outcome = tryLock(path, kind, tryFlock);
    if (typeof outcome === 'object') return outcome;
    if (performance.now() >= deadline) {
      throw outcome === 'of another user' ? ofAnotherUser(path) : await busy(path);
    }
    await sleep(1 + Math.random() * (LONGEST_PAUSE - 1), undefined, { signal });
  }
}

function tryLock(path: string, kind: LockKind, tryFlock: Flock): IndexLock | 'taken' | 'of another user' {
  const fd = openLock(path, kind);
  if (fd === undefined) return NO_LOCK;
  if (fd === 'of another user') return fd;
  let taken = false;
  try {
    // The process that had the lock before may have deleted the file that we locked; then the lock is worth nothing.
    taken = tryFlock(fd, kind) && isSameFile(fd, path);
    if (!taken) return 'taken';
    return { isSeen: () => isSameFile(fd, path), [Symbol.dispose]: () => release(fd, path, kind, tryFlock) };
  } catch (cause) {
    throw new CacheError('FAILED', `cannot lock ${path}: ${(cause as Error).message}`, {
      hint: 'the filesystem seems to have no flock(2); work in a local folder, and move that with other tools',
      cause,
    });
  } finally {
    if (!taken) closeSync(fd);
  }
}

/** Readers come here where index.json is being written for long; others who read then keep their lock. */
function release(fd: number, path: string, kind: LockKind, tryFlock: Flock): void {
  try {
    // Before the lock is given up, so that it is never the next holder's file that goes.
    const isAlone = kind === 'exclusive' || tryFlock(fd, 'exclusive');
    if (isAlone && isSameFile(fd, path)) rmSync(path, { force: true });
  } finally {
    closeSync(fd);
  }
}

async function busy(path: string): Promise<CacheError> {
  const { lockHolder } = await import('./lock-holder.js');
  const holder = await lockHolder(path);
  return new CacheError('BUSY', `${path} is locked by ${holder ?? 'another process'}`, {
    hint:
      holder === undefined
        ? `a build or another bkcache is using this cache; "fuser -v ${path}" says which; --lock-timeout waits longer`
        : 'wait until it is done, or let it be waited for longer with --lock-timeout',
  });
}

/** BuildKit makes its lock file for its own user alone. */
function ofAnotherUser(path: string): CacheError {
  const uid = statSync(path, { throwIfNoEntry: false })?.uid;
  return new CacheError('BUSY', `${path} is a lock of ${uid === undefined ? 'another user' : `user ${uid}`}`, {
    hint: `somebody else is using this cache; if nobody is, it was left behind: delete ${path}`,
  });
}

function openLock(path: string, kind: LockKind): number | 'of another user' | undefined {
  try {
    // Others who share the folder have to be able to lock it, too.
    const flags = constants.O_RDONLY | constants.O_CREAT | constants.O_NOFOLLOW | constants.O_NONBLOCK;
    const fd = openSync(path, flags, 0o666);
    inheritOwnership(fd, path);
    return fd;
  } catch (error) {
    if (isSystemError(error, 'ELOOP', 'EISDIR')) {
      const what = error.code === 'ELOOP' ? 'a link; links inside a layout are not followed' : 'a folder';
      throw new CacheError('CORRUPT', `${path} is ${what}`, { hint: 'no build makes such a lock; delete it' });
    }
    if (isSystemError(error, 'EACCES', 'EPERM') && isThere(path) && isWritable(dirname(path))) return 'of another user';
    // Who cannot lock, in a folder that is read-only, meets no writer there either.
    if (kind === 'shared' && isSystemError(error, 'ENOENT', 'EACCES', 'EPERM', 'EROFS', 'ENOTDIR')) return undefined;
    throw error;
  }
}

function isThere(path: string): boolean {
  return lstatSync(path, { throwIfNoEntry: false }) !== undefined;
}

function isWritable(folder: string): boolean {
  try {
    accessSync(folder, constants.W_OK);
    return true;
  } catch {
    return false;
  }
}
