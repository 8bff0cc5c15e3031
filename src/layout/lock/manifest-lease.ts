import { closeSync } from 'node:fs';
import type { FileHandle } from 'node:fs/promises';
import { setTimeout as sleep } from 'node:timers/promises';
import { CacheError, isSystemError } from '../../errors.js';
import type { Flock } from './flock.js';
import { openRegular, openRegularNow } from '../files/open-file.js';
import { isSameFile } from '../files/same-file.js';

// How those who read a cache for long keep it from gc, whatever becomes of its tag, without a lock on index.json and
// without a right to write: with a shared flock(2) on the file of its manifest. What makes that enough is the order in
// which gc removes things: a manifest goes before anything that it names, and only while nobody has a lock on it. So
// whoever has locked a manifest that is in its place has everything below it, for as long as the lock lasts.

const TRIES = 20;
const PAUSE = 5;

/**
 * Holds a manifest, so that gc keeps it and everything below it.
 *
 * @returns gives it up again; undefined when there is no such file, or not any more. Where there are no locks to be had
 *   nothing is collected, and nothing is held
 */
export async function holdFile(path: string): Promise<(() => Promise<void>) | undefined> {
  const handle = await openFile(path);
  if (handle === 'unreadable') return () => Promise.resolve();
  if (handle === undefined) return undefined;
  const { tryFlock } = await import('./flock.js');
  try {
    for (let attempt = 1; !tryFlock(handle.fd, 'shared') && attempt < TRIES; attempt++) await sleep(PAUSE);
  } catch {
    // A filesystem without locks: nothing is collected there either, since that needs one.
  }
  if (isSameFile(handle.fd, path)) return () => handle.close();
  await handle.close();
  return undefined;
}

/** Whether somebody holds a file. */
export async function isHeld(path: string): Promise<boolean> {
  const handle = await openFile(path);
  if (handle === undefined || handle === 'unreadable') return false;
  try {
    const { tryFlock } = await import('./flock.js');
    return !tryFlock(handle.fd, 'exclusive');
  } finally {
    await handle.close();
  }
}

/**
 * Moves a file out of its place unless somebody holds it; whoever comes to hold it later finds that it is gone.
 *
 * @returns whether that was done
 */
export function moveUnlessHeld(path: string, move: () => void, tryFlock: Flock): boolean {
  let fd: number | undefined;
  try {
    fd = openRegularNow(path);
  } catch (error) {
    // What this user may not read, or nobody, can be moved all the same.
    if (!(error instanceof CacheError) && !isSystemError(error, 'EACCES', 'EPERM')) throw error;
  }
  try {
    if (fd !== undefined && !tryFlock(fd, 'exclusive')) return false;
    move();
    return true;
  } finally {
    if (fd !== undefined) closeSync(fd);
  }
}

async function openFile(path: string): Promise<FileHandle | 'unreadable' | undefined> {
  return openRegular(path).catch((error: unknown) => {
    if (isSystemError(error, 'ENOENT', 'ENOTDIR')) return undefined;
    if (error instanceof CacheError || isSystemError(error, 'EACCES', 'EPERM')) return 'unreadable';
    throw error;
  });
}
