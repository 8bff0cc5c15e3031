import type { Stats } from 'node:fs';
import { type FileHandle, lstat } from 'node:fs/promises';
import { CacheError, isSystemError } from '../../errors.js';
import { BlobHash } from '../../oci/blob-hash.js';
import { type Content, type Range, verified } from '../../oci/content.js';
import type { BlobId } from '../../oci/descriptor.js';
import type { Digest } from '../../oci/digest.js';
import { type FileContent, isLargeFile, withFile } from '../../thread/large-file.js';
import type { copyBlob } from './copy-blob.js';
import { cannotSync, syncFile } from '../files/durable.js';
import { GatheringWriter } from '../files/gathering-writer.js';
import { createFile, openRegular } from '../files/open-file.js';
import { settleBlob } from '../files/ownership.js';

const READ_SIZE = 1024 * 1024;
/** Smaller blobs come several at once, and their syncs would be in each other's way. In bytes. */
const WORTH_SYNCING = 64 * 1024 * 1024;
/** In milliseconds. */
const SYNC_EVERY = 20;

/**
 * Writes content to a new file, hashed on the way, read-only in the end, and syncs it when that is to be durable.
 *
 * @param root - the folder of the layout, whose owner and group are heeded
 * @param expected - what the bytes must be; left out where they are made on the way
 * @throws CacheError CORRUPT
 */
export async function writeBlobFile(
  content: Content,
  expected: BlobId | undefined,
  path: string,
  { root, where, durable, signal }: ReadOptions & { readonly root: string; readonly durable: boolean },
): Promise<BlobId> {
  const handle = await createFile(path);
  try {
    const written = writeInto(handle, content, expected, { where, signal });
    // Packing keeps the processor busy for so long that the disk can follow.
    const isSlow = expected === undefined || expected.size >= WORTH_SYNCING;
    const blob = await (durable && isSlow ? syncedMeanwhile(handle, written) : written);
    settleBlob(handle.fd, root);
    if (durable) await syncFile(handle);
    return blob;
  } finally {
    await handle.close();
  }
}

/** Syncs a file again and again while it is being written, so that the disk has little left to do at the end. */
async function syncedMeanwhile<T>(file: FileHandle, written: Promise<T>): Promise<T> {
  let syncing: Promise<void> | undefined;
  let failure: unknown;
  const timer = setInterval(() => {
    syncing ??= file
      .datasync()
      // Told once only, and not by the last sync again.
      .catch((error: unknown) => (failure ??= cannotSync(error) ? undefined : error))
      .then(() => (syncing = undefined));
  }, SYNC_EVERY);
  try {
    return await written;
  } finally {
    clearInterval(timer);
    await syncing;
    // What could not be kept is worse than what could not be written.
    // oxlint-disable-next-line no-unsafe-finally
    if (failure !== undefined) throw failure;
  }
}

interface ReadOptions {
  /** Where the bytes come from, for messages. */
  readonly where: string;
  readonly signal?: AbortSignal | undefined;
}

async function writeInto(
  handle: FileHandle,
  content: Content,
  expected: BlobId | undefined,
  { where, signal }: ReadOptions,
): Promise<BlobId> {
  if (content.writeTo !== undefined && expected === undefined) return content.writeTo(handle, signal);
  if (expected !== undefined && isLargeFile(content, expected.size)) {
    return copyInThread(content, expected, { where, signal }, handle);
  }
  const bytes = content.open({}, signal);
  const hash = new BlobHash();
  const writer = new GatheringWriter(handle);
  try {
    for await (const chunk of expected === undefined ? bytes : verified(bytes, expected, where)) {
      signal?.throwIfAborted();
      if (expected === undefined) hash.update(chunk);
      await writer.write(chunk);
    }
  } finally {
    // Also after a failure: the file is closed next, and nothing may be on its way into it then.
    await writer.end();
  }
  return expected ?? hash.finish();
}

/**
 * Reads a blob to its end, for the checks on the way: in a thread of its own, when it is a file of some size.
 *
 * @throws CacheError CORRUPT
 */
export async function checkContent(content: Content, expected: BlobId, options: ReadOptions): Promise<void> {
  if (isLargeFile(content, expected.size)) {
    await copyInThread(content, expected, options);
    return;
  }
  const bytes = verified(content.open({}, options.signal), expected, options.where);
  for (let next = await bytes.next(); next.done !== true;) next = await bytes.next();
}

/** @param target - left out where the bytes are only to be checked */
async function copyInThread(
  content: FileContent,
  expected: BlobId,
  { where, signal }: ReadOptions,
  target?: FileHandle,
): Promise<BlobId> {
  const module = new URL('./copy-blob.js', import.meta.url);
  return withFile<typeof copyBlob>(
    content,
    (from) => ({ module, task: 'copyBlob', input: { from, to: target?.fd, expected, where } }),
    signal,
  );
}

/** The blob that a file holds. Reading it throws CacheError CORRUPT where there is none, or something else. */
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
export async function* readBlobFile(
  path: string,
  digest: Digest,
  { start = 0, end = Number.POSITIVE_INFINITY }: Range = {},
  signal?: AbortSignal,
): AsyncGenerator<Uint8Array, void, undefined> {
  await using handle = await openBlobFile(path, digest);
  for (let at = start; at < end;) {
    signal?.throwIfAborted();
    const length = Math.min(READ_SIZE, end - at);
    const { bytesRead, buffer } = await handle.read(Buffer.allocUnsafe(length), 0, length, at);
    if (bytesRead === 0) return;
    at += bytesRead;
    yield buffer.subarray(0, bytesRead);
  }
}

/** What is at a path, links not followed; undefined when nothing is. */
export async function statOf(path: string): Promise<Stats | undefined> {
  return lstat(path).catch((error: unknown) => {
    if (isSystemError(error, 'ENOENT', 'ENOTDIR')) return undefined;
    throw error;
  });
}

/** The error for a blob whose file is not there. */
export function missing(digest: Digest, path: string): CacheError {
  return new CacheError('CORRUPT', `blob ${digest} is missing: there is no ${path}`, {
    hint: 'the cache is incomplete; export it anew, or copy it again from where it came from',
    wrong: 'missing',
  });
}
