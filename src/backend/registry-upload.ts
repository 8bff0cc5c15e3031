import { createHash } from 'node:crypto';
import { CacheError } from '../errors.js';
import { Patience, TransientError } from '../net/retry.js';
import { type Content, contentOf } from '../oci/content.js';
import type { BlobId } from '../oci/descriptor.js';
import { hashDigest } from '../oci/digest.js';
import { CheckedContent } from './checked-content.js';
import { nameOf, type RegistryPlace } from './registry-place.js';
import { ChunksRefused, UploadSession } from './upload-session.js';
import { sourceOf } from './sides.js';

/** Blobs over this size go in chunks of it, so that a proxy's limit on bodies is no limit on blobs. In bytes. */
const CHUNK = 64 * 1024 * 1024;
/**
 * What is held of a stream whose digest shows at its end, so that it can be sent again. Amazon's registry wants chunks
 * of 5 MiB and more. In bytes.
 */
const BUFFER = 8 * 1024 * 1024;

/** The registry knows nothing of an upload any more. */
class UploadLost extends Error {}

/**
 * Writes a blob. After a break the registry is asked how much it has, and the rest is sent; the registry checks the
 * digest, and so is the source's.
 *
 * @param exists - whether the blob is there, asked when an answer got lost
 * @throws CacheError CORRUPT when the source is not what was expected
 */
export async function uploadBlob(
  place: RegistryPlace,
  content: Content,
  expected: BlobId,
  exists: () => Promise<boolean>,
  signal: AbortSignal | undefined,
): Promise<void> {
  const what = `blob ${expected.digest}`;
  const source = new CheckedContent(content, expected, sourceOf(content) ?? nameOf(place), signal);
  const patience = new Patience(place.client.policy);
  let session: UploadSession | undefined;
  let chunk = CHUNK;
  for (;;) {
    try {
      if (session === undefined) {
        session = await open(place, content, expected, what, signal);
        if (session === undefined) return;
      }
      while (expected.size - session.offset > Math.max(chunk, session.minimum)) {
        await session.append(source.body(session.offset, session.offset + Math.max(chunk, session.minimum)));
      }
      await session.finish(expected.digest, source.body(session.offset, expected.size));
      return;
    } catch (error) {
      if (source.failure !== undefined) throw source.failure;
      if (error instanceof ChunksRefused && chunk !== Infinity) {
        chunk = Infinity;
        session = undefined;
        continue;
      }
      await patience.wait(error, signal);
      if (session === undefined) continue;
      const isKnown = await session.recover();
      patience.reached(session.offset);
      if (isKnown && session.offset <= expected.size) continue;
      session = undefined;
      // It was written, and only the answer did not arrive.
      if (await exists()) return;
    }
  }
}

/** Opens an upload, or takes the blob over from another repository; then there is none. */
async function open(
  place: RegistryPlace,
  { origin }: Content,
  { digest }: BlobId,
  what: string,
  signal: AbortSignal | undefined,
): Promise<UploadSession | undefined> {
  if (origin?.registry === place.client.registry && origin.repository !== place.repository) {
    try {
      return await UploadSession.mount(place, what, { digest, from: origin.repository }, signal);
    } catch (error) {
      // Registries refuse to mount what the user may not read there, or altogether: then the bytes have to travel.
      if (!(error instanceof CacheError) || error instanceof TransientError) throw error;
    }
  }
  return UploadSession.open(place, what, signal);
}

/**
 * Writes a blob whose digest shows when all of it was read. What fits into memory is a blob like any other; the rest
 * goes in chunks, of which one at a time is held.
 *
 * @param has - whether a blob is there
 */
export async function uploadStream(
  place: RegistryPlace,
  content: Content,
  has: (blob: BlobId) => Promise<boolean>,
  signal: AbortSignal | undefined,
): Promise<BlobId> {
  const patience = new Patience(place.client.policy);
  for (;;) {
    try {
      return await streamOnce(place, content, has, patience, signal);
    } catch (error) {
      if (error instanceof ChunksRefused) return uploadTwice(place, content, has, signal);
      // Its first chunks are not in memory any more: all is read anew.
      if (!(error instanceof UploadLost)) throw error;
    }
  }
}

async function streamOnce(
  place: RegistryPlace,
  content: Content,
  has: (blob: BlobId) => Promise<boolean>,
  patience: Patience,
  signal: AbortSignal | undefined,
): Promise<BlobId> {
  const hash = createHash('sha256');
  let size = 0;
  let session: UploadSession | undefined;
  for await (const bytes of buffered(content.open({}, signal))) {
    hash.update(bytes);
    size += bytes.length;
    if (session === undefined && bytes.length < BUFFER) {
      const blob = { digest: hashDigest('sha256', hash), size };
      if (!(await has(blob))) await uploadBlob(place, contentOf(bytes), blob, () => has(blob), signal);
      return blob;
    }
    session ??= await UploadSession.open(place, 'a blob', signal);
    await appendAll(session, bytes, patience, signal);
  }
  const blob = { digest: hashDigest('sha256', hash), size };
  if (session === undefined) {
    await uploadBlob(place, contentOf(new Uint8Array()), blob, () => has(blob), signal);
    return blob;
  }
  await finishUpload(session, blob, () => has(blob), patience, signal);
  return blob;
}

/** Sends bytes that are in memory, those again that got lost. */
async function appendAll(
  session: UploadSession,
  bytes: Uint8Array,
  patience: Patience,
  signal: AbortSignal | undefined,
): Promise<void> {
  const start = session.offset;
  const end = start + bytes.length;
  while (session.offset < end) {
    const rest = bytes.subarray(session.offset - start);
    try {
      await session.append({ length: rest.length, open: () => contentOf(rest).open() });
    } catch (error) {
      await patience.wait(error, signal);
      if (!(await session.recover()) || session.offset < start || session.offset > end) throw new UploadLost();
      patience.reached(session.offset);
    }
  }
}

/** Makes a blob of all that was sent. */
async function finishUpload(
  session: UploadSession,
  { digest, size }: BlobId,
  exists: () => Promise<boolean>,
  patience: Patience,
  signal: AbortSignal | undefined,
): Promise<void> {
  for (;;) {
    try {
      await session.finish(digest);
      return;
    } catch (error) {
      await patience.wait(error, signal);
      if ((await session.recover()) && session.offset === size) continue;
      if (await exists()) return;
      throw new UploadLost();
    }
  }
}

/** Bytes in pieces of the size of the buffer, the last one smaller. A piece is overwritten by the next. */
async function* buffered(bytes: AsyncIterable<Uint8Array>): AsyncGenerator<Uint8Array, void, undefined> {
  let buffer = Buffer.allocUnsafe(64 * 1024);
  let filled = 0;
  for await (const chunk of bytes) {
    for (let at = 0; at < chunk.length;) {
      if (filled === buffer.length) {
        // Most layers are small: it grows as it is needed.
        const larger = Buffer.allocUnsafe(Math.min(BUFFER, buffer.length * 4));
        buffer.copy(larger);
        buffer = larger;
      }
      const part = chunk.subarray(at, at + buffer.length - filled);
      buffer.set(part, filled);
      filled += part.length;
      at += part.length;
      if (filled === BUFFER) {
        yield buffer;
        filled = 0;
      }
    }
  }
  if (filled > 0) yield buffer.subarray(0, filled);
}

/** For registries that take no chunks: the same bytes are made twice, first for their digest. */
async function uploadTwice(
  place: RegistryPlace,
  content: Content,
  has: (blob: BlobId) => Promise<boolean>,
  signal: AbortSignal | undefined,
): Promise<BlobId> {
  const hash = createHash('sha256');
  let size = 0;
  for await (const chunk of content.open({}, signal)) {
    hash.update(chunk);
    size += chunk.length;
  }
  const blob = { digest: hashDigest('sha256', hash), size };
  if (await has(blob)) return blob;
  const again: Content = {
    size,
    async *open({ start = 0 } = {}, inner) {
      let skip = start;
      for await (const chunk of content.open({}, inner)) {
        yield chunk.subarray(Math.min(skip, chunk.length));
        skip -= Math.min(skip, chunk.length);
      }
    },
  };
  await uploadBlob(place, again, blob, () => has(blob), signal);
  return blob;
}
