import type { FileHandle } from 'node:fs/promises';
import { BlobHash } from '../../oci/blob-hash.js';
import { type Content, verified } from '../../oci/content.js';
import type { BlobId } from '../../oci/descriptor.js';
import { isLargeFile } from '../../thread/large-file.js';
import { cannotSync, syncFile } from '../files/durable.js';
import { GatheringWriter } from '../files/gathering-writer.js';
import { createFile } from '../files/open-file.js';
import { settleBlob } from '../files/ownership.js';
import { copyInThread, type CheckOptions } from './blob-file.js';

/** Smaller blobs come several at once, and their syncs would be in each other's way. In bytes. */
const WORTH_SYNCING = 64 * 1024 * 1024;
/** In milliseconds. */
const SYNC_EVERY = 20;

/**
 * Writes content to a new file and hashes it. The file is read-only in the end, and synced if it has to be durable.
 *
 * @param root - the folder of the layout, whose owner and group are heeded
 * @param expected - what the bytes must be; left out where they are made on the way
 * @throws CacheError CORRUPT
 */
export async function writeBlobFile(
  content: Content,
  expected: BlobId | undefined,
  path: string,
  { root, where, durable, signal }: CheckOptions & { readonly root: string; readonly durable: boolean },
): Promise<BlobId> {
  const handle = await createFile(path);
  try {
    const written = writeInto(handle, content, expected, { where, signal });
    // Compression keeps the processor busy for so long that the disk can follow.
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

async function writeInto(
  handle: FileHandle,
  content: Content,
  expected: BlobId | undefined,
  { where, signal }: CheckOptions,
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
