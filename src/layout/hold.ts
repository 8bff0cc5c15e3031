import { constants } from 'node:fs';
import { type FileHandle, open } from 'node:fs/promises';
import { setTimeout as sleep } from 'node:timers/promises';
import { isSystemError } from '../errors.js';
import { isSameFile } from './lock.js';

const TRIES = 20;
const PAUSE = 5;

/**
 * Holds a manifest, so that collect keeps it and everything below it, whatever becomes of its tag: with a shared lock on
 * its own file, which leaves no trace and needs no right to write. To be called while the index is locked.
 *
 * @returns gives it up again; does nothing where there is no such file, or no lock to be had
 */
export async function holdFile(path: string): Promise<() => Promise<void>> {
  const handle = await openFile(path);
  if (handle === undefined) return () => Promise.resolve();
  const { tryFlock } = await import('./flock.js');
  try {
    for (let attempt = 1; !tryFlock(handle.fd, 'shared'); attempt++) {
      if (attempt === TRIES) break;
      await sleep(PAUSE);
    }
  } catch {
    // A filesystem without locks: nothing is collected there either, since that needs one.
  }
  return () => handle.close();
}

/** Whether somebody holds a file. */
export async function isHeld(path: string): Promise<boolean> {
  const handle = await openFile(path);
  if (handle === undefined) return false;
  try {
    const { tryFlock } = await import('./flock.js');
    return !tryFlock(handle.fd, 'exclusive') || !(await isSameFile(handle, path));
  } finally {
    await handle.close();
  }
}

async function openFile(path: string): Promise<FileHandle | undefined> {
  return open(path, constants.O_RDONLY | constants.O_NOFOLLOW | constants.O_NONBLOCK).catch((error: unknown) => {
    if (isSystemError(error, 'ENOENT', 'ENOTDIR', 'ELOOP', 'EACCES', 'EPERM')) return undefined;
    throw error;
  });
}
