import { constants } from 'node:fs';
import { type FileHandle, open } from 'node:fs/promises';
import { CacheError, isSystemError } from '../errors.js';
import { JSON_LIMIT } from '../oci/json.js';

/**
 * A file that fits into memory, whole; undefined where there is none.
 *
 * @throws CacheError CORRUPT for a link, for something that is no regular file, and for one that is too large
 */
export async function contentOfFile(path: string): Promise<Buffer | undefined> {
  const handle = await openSmallFile(path);
  try {
    return await readSmallFile(handle, path);
  } finally {
    await handle?.close();
  }
}

export async function openSmallFile(path: string): Promise<FileHandle | undefined> {
  try {
    return await open(path, constants.O_RDONLY | constants.O_NOFOLLOW | constants.O_NONBLOCK);
  } catch (error) {
    if (isSystemError(error, 'ENOENT', 'ENOTDIR')) return undefined;
    if (isSystemError(error, 'ELOOP')) {
      throw new CacheError('CORRUPT', `${path} is a link; links inside a layout are not followed`);
    }
    throw error;
  }
}

/** What is in an open file now, whole. */
export async function readSmallFile(handle: FileHandle | undefined, path: string): Promise<Buffer | undefined> {
  if (handle === undefined) return undefined;
  const stats = await handle.stat();
  if (!stats.isFile()) throw new CacheError('CORRUPT', `${path} is not a regular file`);
  if (stats.size > JSON_LIMIT) {
    throw new CacheError('CORRUPT', `${path} has ${stats.size} bytes; over the limit of ${JSON_LIMIT}`);
  }
  const bytes = Buffer.alloc(stats.size);
  let size = 0;
  for (let read = -1; read !== 0 && size < bytes.length;) {
    ({ bytesRead: read } = await handle.read(bytes, size, bytes.length - size, size));
    size += read;
  }
  return bytes.subarray(0, size);
}
