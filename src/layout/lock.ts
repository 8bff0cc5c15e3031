import { constants } from 'node:fs';
import { type FileHandle, open, rm, stat } from 'node:fs/promises';
import { setTimeout as sleep } from 'node:timers/promises';
import { CacheError, isSystemError } from '../errors.js';

/** How long to wait for somebody else's lock, in milliseconds. They are held while index.json is read or written. */
export const LOCK_TIMEOUT = 10_000;
const PAUSE = 20;

/**
 * Runs something while holding BuildKit's lock on an index (client/ociindex/ociindex.go): flock(2) on
 * index.json.lock, which is deleted afterwards. Where the folder cannot be written to, a reader goes on without it.
 *
 * @throws CacheError BUSY when the lock is not to be had in time
 */
export async function withLock<T>(
  indexPath: string,
  kind: 'shared' | 'exclusive',
  run: () => Promise<T>,
  { timeout = LOCK_TIMEOUT, signal }: { readonly timeout?: number; readonly signal?: AbortSignal | undefined } = {},
): Promise<T> {
  const path = `${indexPath}.lock`;
  const handle = await acquire(path, kind, Date.now() + timeout, signal);
  if (handle === undefined) return run();
  try {
    return await run();
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
    try {
      const { tryFlock } = await import('./flock.js');
      // Whoever had the lock before may have deleted the file that we locked; then the lock is worth nothing.
      if (tryFlock(handle.fd, kind) && (await isSameFile(handle, path))) return handle;
    } catch (cause) {
      await handle.close();
      throw new CacheError('FAILED', `cannot lock ${path}: ${(cause as Error).message}`, {
        hint: 'the filesystem seems to have no flock(2); copy to a local folder, and move that with other tools',
        cause,
      });
    }
    await handle.close();
    if (Date.now() >= deadline) {
      throw new CacheError('BUSY', `${path} is locked by another process`, {
        hint: `a build or another bkcache is using this cache; "fuser -v ${path}" says which`,
      });
    }
    await sleep(PAUSE, undefined, { signal });
  }
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

async function openLock(path: string, kind: 'shared' | 'exclusive'): Promise<FileHandle | undefined> {
  try {
    return await open(path, constants.O_RDONLY | constants.O_CREAT | constants.O_NOFOLLOW, 0o600);
  } catch (error) {
    // Who cannot lock, in a folder that is read-only, meets no writer there either.
    if (kind === 'shared' && isSystemError(error, 'ENOENT', 'EACCES', 'EPERM', 'EROFS')) return undefined;
    throw error;
  }
}

async function isSameFile(handle: FileHandle, path: string): Promise<boolean> {
  const [locked, named] = await Promise.all([
    handle.stat(),
    stat(path).catch((error: unknown) => {
      if (isSystemError(error, 'ENOENT')) return undefined;
      throw error;
    }),
  ]);
  return locked.ino === named?.ino && locked.dev === named.dev;
}
