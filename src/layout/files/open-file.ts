import { closeSync, constants, fstatSync, openSync, type Stats } from 'node:fs';
import { type FileHandle, open } from 'node:fs/promises';
import { CacheError, isSystemError } from '../../errors.js';

// Every file of a layout is opened here, and its lock file in lock.ts: links could lead anywhere (CVE-2024-3727 and its
// like), opening a pipe blocks, and a device has no end.

const SAFE = constants.O_NOFOLLOW | constants.O_NONBLOCK;

/**
 * Opens a file to read it.
 *
 * @throws CacheError CORRUPT for a link, and for anything else that is no regular file; the system's errors
 */
export async function openRegular(path: string): Promise<FileHandle> {
  return openWith(path, constants.O_RDONLY);
}

/**
 * Opens a file to add lines to it, each in one write; a missing file is created.
 *
 * @param mode - of a new one, as far as the umask leaves it
 * @throws CacheError CORRUPT for a link, and for anything else that is no regular file; the system's errors
 */
export async function openToAppend(path: string, mode: number): Promise<FileHandle> {
  return openWith(path, constants.O_RDWR | constants.O_APPEND | constants.O_CREAT, mode);
}

async function openWith(path: string, flags: number, mode?: number): Promise<FileHandle> {
  const handle = await open(path, flags | SAFE, mode).catch((error: unknown) => {
    throw explained(error, path);
  });
  try {
    refuseOthers(await handle.stat(), path);
    return handle;
  } catch (error) {
    await handle.close();
    throw error;
  }
}

/** The same at once, for what is done under a lock. */
export function openRegularNow(path: string): number {
  let fd: number | undefined;
  try {
    fd = openSync(path, constants.O_RDONLY | SAFE);
    refuseOthers(fstatSync(fd), path);
    return fd;
  } catch (error) {
    if (fd !== undefined) closeSync(fd);
    throw explained(error, path);
  }
}

/** Makes a file; the system's EEXIST where there is anything already. */
export async function createFile(path: string): Promise<FileHandle> {
  return open(path, constants.O_RDWR | constants.O_CREAT | constants.O_EXCL | SAFE, 0o666);
}

/** Opens a folder, to sync it. */
export async function openFolder(path: string): Promise<FileHandle> {
  return open(path, constants.O_RDONLY | constants.O_DIRECTORY);
}

/** Opens a folder inside a layout, to lock it. */
export function openFolderNow(path: string): number {
  return openSync(path, constants.O_RDONLY | constants.O_DIRECTORY | constants.O_NOFOLLOW);
}

/** @throws CacheError CORRUPT for a link, and for anything else that is no regular file */
export function refuseOthers(stats: Stats, path: string): void {
  if (stats.isSymbolicLink()) throw linked(path);
  if (!stats.isFile()) throw irregular(path);
}

function explained(error: unknown, path: string): unknown {
  if (isSystemError(error, 'ELOOP')) return linked(path);
  // A socket, or a device without a driver.
  return isSystemError(error, 'ENXIO', 'ENODEV', 'EISDIR') ? irregular(path) : error;
}

function linked(path: string): CacheError {
  return new CacheError('CORRUPT', `${path} is a link; links inside a layout are not followed`, {
    hint: 'replace the link by the file that it leads to',
    wrong: 'notAFile',
  });
}

function irregular(path: string): CacheError {
  return new CacheError('CORRUPT', `${path} is not a regular file`, { wrong: 'notAFile' });
}
