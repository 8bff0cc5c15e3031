import { closeSync } from 'node:fs';
import type { FileHandle } from 'node:fs/promises';
import { setTimeout as sleep } from 'node:timers/promises';
import { CacheError, isSystemError } from '../../errors.js';
import type { Flock } from './flock.js';
import { openRegular, openRegularNow } from '../files/open-file.js';
import { isSameFile } from '../files/same-file.js';

// The lease of a reader, who may have no right to write a marker: a shared flock(2) on the file of a manifest. gc keeps
// a leased manifest and everything below it, whatever tags it, because of the order in which gc moves files: a manifest
// before anything that it names, and only while it has no lock. So a reader that has locked a manifest in its place has
// everything below it, for as long as the lock lasts.

const TRIES = 20;
const PAUSE = 5;

/**
 * Leases a manifest, and everything below it.
 *
 * @returns ends the lease; undefined where the file does not exist, or not any more. Where the file cannot be locked,
 *   there is no lease, and no gc either
 */
export async function leaseManifest(path: string): Promise<(() => Promise<void>) | undefined> {
  const handle = await openFile(path);
  if (handle === 'unreadable') return () => Promise.resolve();
  if (handle === undefined) return undefined;
  const { tryFlock } = await import('./flock.js');
  try {
    for (let attempt = 1; !tryFlock(handle.fd, 'shared') && attempt < TRIES; attempt++) await sleep(PAUSE);
  } catch {
    // A filesystem without locks has no gc either, since that needs one.
  }
  if (isSameFile(handle.fd, path)) return () => handle.close();
  await handle.close();
  return undefined;
}

/** Whether a manifest is leased. */
export async function isLeased(path: string): Promise<boolean> {
  const opened = await openFile(path);
  if (opened === undefined || opened === 'unreadable') return false;
  await using handle = opened;
  const { tryFlock } = await import('./flock.js');
  return !tryFlock(handle.fd, 'exclusive');
}

/**
 * Moves the file of a manifest unless it is leased; a lease that is asked for later finds no file.
 *
 * @returns whether that was done
 */
export function moveUnlessLeased(path: string, move: () => void, tryFlock: Flock): boolean {
  let fd: number | undefined;
  try {
    fd = openRegularNow(path);
  } catch (error) {
    // A file can be moved even if nobody may read it.
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
