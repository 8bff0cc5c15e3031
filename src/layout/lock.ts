import { constants } from 'node:fs';
import { access, type FileHandle, open, rm, stat } from 'node:fs/promises';
import { dirname } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { CacheError, isSystemError } from '../errors.js';
import { exists } from './durable.js';

/** How long to wait for somebody else's lock, in milliseconds. They are held while index.json is read or written. */
export const LOCK_TIMEOUT = 10_000;
const LONGEST_PAUSE = 20;

export interface LockOptions {
  /** In milliseconds; 0 gives up at once. */
  readonly timeout?: number | undefined;
  readonly signal?: AbortSignal | undefined;
}

/** A lock while it is held. */
export interface HeldLock {
  /**
   * Whether others still meet this lock. BuildKit deletes the lock file after it has given its lock up, and so may
   * delete the one that somebody else has taken by then.
   */
  isSeen(): Promise<boolean>;
}

const NO_LOCK: HeldLock = { isSeen: () => Promise.resolve(true) };

/**
 * Runs something while holding BuildKit's lock on an index (client/ociindex/ociindex.go): flock(2) on
 * index.json.lock, which is deleted afterwards. Where the folder cannot be written to, a reader goes on without it.
 *
 * BuildKit does not wait for this lock: a build that meets it skips its import, or fails its export. It is to be held
 * for milliseconds.
 *
 * @throws CacheError BUSY when the lock is not to be had in time, FAILED where the filesystem has no such locks
 */
export async function withLock<T>(
  indexPath: string,
  kind: 'shared' | 'exclusive',
  run: (lock: HeldLock) => Promise<T>,
  { timeout = LOCK_TIMEOUT, signal }: LockOptions = {},
): Promise<T> {
  const path = `${indexPath}.lock`;
  const handle = await acquire(path, kind, Date.now() + timeout, signal);
  if (handle === undefined) return run(NO_LOCK);
  try {
    return await run({ isSeen: () => isSameFile(handle, path) });
  } finally {
    await release(handle, path);
  }
}

async function acquire(
  path: string,
  kind: 'shared' | 'exclusive',
  deadline: number,
  signal: AbortSignal | undefined,
): Promise<FileHandle | undefined> {
  for (;;) {
    signal?.throwIfAborted();
    const handle = await openLock(path, kind);
    if (handle === undefined) return undefined;
    if (handle === 'of another user') {
      if (Date.now() >= deadline) throw await ofAnotherUser(path);
    } else {
      let taken = false;
      try {
        taken = await tryLock(handle, kind, path);
        if (taken) return handle;
        if (Date.now() >= deadline) throw busy(path, await (await import('./lock-holder.js')).lockHolder(handle));
      } finally {
        if (!taken) await handle.close();
      }
    }
    await sleep(1 + Math.random() * (LONGEST_PAUSE - 1), undefined, { signal });
  }
}

/** Whoever had the lock before may have deleted the file that we locked; then the lock is worth nothing. */
async function tryLock(handle: FileHandle, kind: 'shared' | 'exclusive', path: string): Promise<boolean> {
  const { tryFlock } = await import('./flock.js');
  try {
    return tryFlock(handle.fd, kind) && (await isSameFile(handle, path));
  } catch (cause) {
    throw new CacheError('FAILED', `cannot lock ${path}: ${(cause as Error).message}`, {
      hint: 'the filesystem seems to have no flock(2); work in a local folder, and move that with other tools',
      cause,
    });
  }
}

function busy(path: string, holder: string | undefined): CacheError {
  return new CacheError('BUSY', `${path} is locked by ${holder ?? 'another process'}`, {
    hint:
      holder === undefined
        ? `a build or another bkcache is using this cache; "fuser -v ${path}" says which; --lock-timeout waits longer`
        : 'wait until it is done, or let it be waited for longer with --lock-timeout',
  });
}

/** BuildKit makes its lock file for its own user alone. */
async function ofAnotherUser(path: string): Promise<CacheError> {
  const { uid } = await stat(path).catch(() => ({ uid: undefined }));
  return new CacheError('BUSY', `${path} is a lock of ${uid === undefined ? 'another user' : `user ${uid}`}`, {
    hint: `somebody else is using this cache; if nobody is, it was left behind: delete ${path}`,
  });
}

/** Deletes the lock file too, as BuildKit does, unless another reader still holds the lock on it. */
async function release(handle: FileHandle, path: string): Promise<void> {
  try {
    const { tryFlock } = await import('./flock.js');
    // Before the lock is given up, so that it is never the next holder's file that goes.
    if (tryFlock(handle.fd, 'exclusive') && (await isSameFile(handle, path))) await rm(path, { force: true });
  } finally {
    await handle.close();
  }
}

async function openLock(
  path: string,
  kind: 'shared' | 'exclusive',
): Promise<FileHandle | 'of another user' | undefined> {
  try {
    // Others who share the folder have to be able to lock it, too.
    const flags = constants.O_RDONLY | constants.O_CREAT | constants.O_NOFOLLOW | constants.O_NONBLOCK;
    return await open(path, flags, 0o666);
  } catch (error) {
    if (isSystemError(error, 'ELOOP', 'EISDIR')) {
      const what = error.code === 'ELOOP' ? 'a link; links inside a layout are not followed' : 'a folder';
      throw new CacheError('CORRUPT', `${path} is ${what}`, { hint: 'no build makes such a lock; delete it' });
    }
    if (isSystemError(error, 'EACCES', 'EPERM') && (await exists(path)) && (await isWritable(dirname(path)))) {
      return 'of another user';
    }
    // Who cannot lock, in a folder that is read-only, meets no writer there either.
    if (kind === 'shared' && isSystemError(error, 'ENOENT', 'EACCES', 'EPERM', 'EROFS', 'ENOTDIR')) return undefined;
    throw error;
  }
}

async function isWritable(folder: string): Promise<boolean> {
  return access(folder, constants.W_OK).then(
    () => true,
    () => false,
  );
}

/** Whether a path still names the file that is open. */
export async function isSameFile(handle: FileHandle, path: string): Promise<boolean> {
  const [opened, named] = await Promise.all([
    handle.stat(),
    stat(path).catch((error: unknown) => {
      if (isSystemError(error, 'ENOENT')) return undefined;
      throw error;
    }),
  ]);
  return opened.ino === named?.ino && opened.dev === named.dev;
}
