import type { FileHandle } from 'node:fs/promises';
import { collect } from '../bytes/collect.js';
import { limited } from '../bytes/limited.js';
import { CacheError } from '../errors.js';
import { BlobCheck, BlobHash, wrongBytes } from './blob-hash.js';
import type { BlobId } from './descriptor.js';
import { type Digest, hashDigest, hasherFor } from './digest.js';

/** A part of a blob: bytes `start` up to, and not including, `end`. */
export interface Range {
  readonly start?: number;
  readonly end?: number;
}

/** An object of a service of objects. */
export interface ObjectOrigin {
  /** For messages. */
  readonly name: string;
  /** The service and who asks it: objects with equal ones can be copied from one to the other. */
  readonly service: string;
  /** The object as a request for a copy names it. */
  readonly source: string;
}

/**
 * Bytes that are not read yet. Each `open` reads them from the start, so that a failed attempt can be repeated. The bytes
 * are unverified.
 */
export interface Content {
  /** In bytes; unset for bytes that are produced while they are read. */
  readonly size?: number;
  /** The file with exactly these bytes, if there is one: the kernel can copy it, and ranges are cheap. */
  readonly path?: string;
  /** Where the bytes are inside a larger file, for messages: `caches.tar, byte 1536`. */
  readonly place?: string;
  /** The repository with these bytes as a blob, if there is one: other repositories of its registry can mount the blob. */
  readonly origin?: { readonly registry: string; readonly repository: string };
  /** The object with these bytes, if there is one: its service can copy it to other keys and buckets. */
  readonly object?: ObjectOrigin;
  /** Opens `path`, and checks that it is a regular file. The caller closes it. */
  openFile?(): Promise<FileHandle>;
  /** Writes the bytes to an open file in another thread. @returns their digest and size */
  writeTo?(file: FileHandle, signal?: AbortSignal): Promise<BlobId>;
  /** Called with the number of bytes that were read without `open`. */
  readonly onRead?: (bytes: number) => void;
  open(range?: Range, signal?: AbortSignal): AsyncIterable<Uint8Array>;
}

/** Content in memory. */
export function contentOf(bytes: Uint8Array): Content {
  return {
    size: bytes.length,
    async *open({ start, end } = {}) {
      yield bytes.subarray(start, end);
    },
  };
}

/**
 * Passes the bytes of a blob on, and checks size and digest. A blob that is too long fails at the first byte over its
 * size.
 *
 * @param where - the source of the bytes, for the message
 * @throws CacheError CORRUPT, at the end or at the first byte over the size
 */
export async function* verified(
  bytes: AsyncIterable<Uint8Array>,
  expected: BlobId,
  where: string,
): AsyncGenerator<Uint8Array, void, undefined> {
  const check = new BlobCheck(expected, where);
  for await (const chunk of bytes) {
    check.update(chunk);
    yield chunk;
  }
  check.finish();
}

/** Reads content to its end. @returns its digest and size */
export async function hashContent(content: Content, signal: AbortSignal | undefined): Promise<BlobId> {
  const hash = new BlobHash();
  for await (const chunk of content.open({}, signal)) hash.update(chunk);
  return hash.finish();
}

/**
 * Reads a document and checks its digest. The size in its descriptor does not matter.
 *
 * @param limit - the largest document, in bytes
 * @throws CacheError CORRUPT for wrong bytes, FAILED for a document over the limit
 */
export async function readDocument(
  content: Content,
  digest: Digest,
  where: string,
  { limit, signal }: { readonly limit: number; readonly signal?: AbortSignal | undefined },
): Promise<Buffer> {
  const tooLarge = () => new CacheError('FAILED', `${where}: ${digest} has over ${limit} bytes, the limit`);
  const { algorithm, hash } = hasherFor(digest);
  const bytes = await collect(limited(content.open({}, signal), limit, tooLarge));
  const found = hashDigest(algorithm, hash.update(bytes));
  if (found !== digest) throw wrongBytes({ digest, size: bytes.length }, found, where);
  return bytes;
}

/**
 * Reads a small blob whole, and checks size and digest.
 *
 * @param limit - the largest document, in bytes
 * @throws CacheError CORRUPT for wrong bytes, FAILED for a blob over the limit
 */
export async function readWhole(
  content: Content,
  expected: BlobId,
  where: string,
  { limit, signal }: { readonly limit: number; readonly signal?: AbortSignal | undefined },
): Promise<Buffer> {
  if (expected.size > limit) {
    throw new CacheError(
      'FAILED',
      `${where}: ${expected.digest} has ${expected.size} bytes, over the limit of ${limit}`,
    );
  }
  return collect(verified(content.open({}, signal), expected, where));
}
