import type { FileHandle } from 'node:fs/promises';
import { CacheError, isSystemError } from '../../errors.js';
import { JSON_LIMIT } from '../../oci/json.js';
import { openRegular } from './open-file.js';

/**
 * The bytes of a small file; undefined for a missing file.
 *
 * @throws CacheError CORRUPT for a link, for something that is no regular file, and for one that is too large
 */
export async function bytesOfFile(path: string): Promise<Buffer | undefined> {
  await using handle = await openSmallFile(path);
  return handle && (await readSmallFile(handle, path));
}

async function openSmallFile(path: string): Promise<FileHandle | undefined> {
  try {
    return await openRegular(path);
  } catch (error) {
    if (isSystemError(error, 'ENOENT', 'ENOTDIR')) return undefined;
    throw error;
  }
}

/** What is in an open file now, whole. */
export async function readSmallFile(handle: FileHandle, path: string): Promise<Buffer> {
  const stats = await handle.stat();
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
