import { closeSync, fstatSync, readSync } from 'node:fs';
import type { FileHandle } from 'node:fs/promises';
import { dirname } from 'node:path';
import { letOthersRun } from '../../bytes/let-others-run.js';
import { CacheError, isSystemError } from '../../errors.js';
import { type Content, type Range, verified } from '../../oci/content.js';
import type { BlobId } from '../../oci/descriptor.js';
import type { Digest } from '../../oci/digest.js';
import { type FileContent, isLargeFile, withFile } from '../../thread/large-file.js';
import type { copyBlob } from './copy-blob.js';
import { isLocal } from '../files/local-disk.js';
import { openRegular, openRegularNow } from '../files/open-file.js';

/** The largest buffer, in bytes. */
const READ_SIZE = 1024 * 1024;
/**
 * The first buffer, in bytes, and what is read at once, without another thread: most documents, and the beginnings of
 * layers. To allocate a large buffer costs more than to read them.
 */
const READ_NOW = 64 * 1024;

/** For reading a blob with the checks on the way. */
export interface CheckOptions {
  /** Where the bytes come from, for messages. */
  readonly where: string;
  readonly signal?: AbortSignal | undefined;
}

/**
 * Reads a blob to its end, for the checks on the way: in a thread of its own, when it is a file of some size.
 *
 * @throws CacheError CORRUPT
 */
export async function checkContent(content: Content, expected: BlobId, options: CheckOptions): Promise<void> {
  if (isLargeFile(content, expected.size)) {
    await copyInThread(content, expected, options);
    return;
  }
  const bytes = verified(content.open({}, options.signal), expected, options.where);
  for (let next = await bytes.next(); next.done !== true;) next = await bytes.next();
}

/** @param target - left out where the bytes are only to be checked */
export async function copyInThread(
  content: FileContent,
  expected: BlobId,
  { where, signal }: CheckOptions,
  target?: FileHandle,
): Promise<BlobId> {
  const module = new URL('./copy-blob.js', import.meta.url);
  return withFile<typeof copyBlob>(
    content,
    (from) => ({ module, task: 'copyBlob', input: { from, to: target?.fd, expected, where } }),
    signal,
  );
}

/** The blob in a file. Reading it throws CacheError CORRUPT if there is no regular file. */
export function blobFile(path: string, digest: Digest): Content {
  return {
    path,
    openFile: () => openBlobFile(path, digest),
    open: (range, signal) => readBlobFile(path, digest, range, signal),
  };
}

async function openBlobFile(path: string, digest: Digest): Promise<FileHandle> {
  return openRegular(path).catch((error: unknown) => {
    throw isSystemError(error, 'ENOENT', 'ENOTDIR') ? missing(digest, path) : error;
  });
}

/**
 * A blob's bytes, unverified.
 *
 * @throws CacheError CORRUPT when there is no such file, or something else in its place
 */
async function* readBlobFile(
  path: string,
  digest: Digest,
  { start = 0, end = Number.POSITIVE_INFINITY }: Range = {},
  signal?: AbortSignal,
): AsyncGenerator<Uint8Array, void, undefined> {
  signal?.throwIfAborted();
  if (await isLocal(dirname(path))) {
    const small = readNow(path, digest, start, end);
    if (small !== undefined) {
      if (small.length > 0) yield small;
      await letOthersRun();
      return;
    }
  }
  await using handle = await openBlobFile(path, digest);
  let size = READ_NOW;
  for (let at = start; at < end;) {
    signal?.throwIfAborted();
    const length = Math.min(size, end - at);
    const { bytesRead, buffer } = await handle.read(Buffer.allocUnsafe(length), 0, length, at);
    if (bytesRead === 0) return;
    at += bytesRead;
    // A file that fills its buffer goes on; after a short read only its end is left.
    if (bytesRead === size) size = Math.min(8 * size, READ_SIZE);
    yield buffer.subarray(0, bytesRead);
  }
}

/** A part of a file at once, if it is small; undefined when it is not. */
function readNow(path: string, digest: Digest, start: number, end: number): Buffer | undefined {
  const fd = openNow(path, digest);
  try {
    const length = Math.max(0, Math.min(end, fstatSync(fd).size) - start);
    if (length > READ_NOW) return undefined;
    const bytes = Buffer.allocUnsafe(length);
    let size = 0;
    for (let read = -1; read !== 0 && size < length; size += read) {
      read = readSync(fd, bytes, size, length - size, start + size);
    }
    return bytes.subarray(0, size);
  } finally {
    closeSync(fd);
  }
}

function openNow(path: string, digest: Digest): number {
  try {
    return openRegularNow(path);
  } catch (error) {
    throw isSystemError(error, 'ENOENT', 'ENOTDIR') ? missing(digest, path) : error;
  }
}

/** The error for a blob whose file is not there. */
export function missing(digest: Digest, path: string): CacheError {
  return new CacheError('CORRUPT', `blob ${digest} is missing: there is no ${path}`, {
    hint: 'the cache is incomplete; export it again, or copy it again from where it came from',
    wrong: 'missing',
  });
}
