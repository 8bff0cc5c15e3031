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

/**
 * Bytes somewhere, not yet read: each `open` reads them anew, so that a failed attempt can be repeated. What comes
 * out of `open` is unverified.
 */
export interface Content {
  /** In bytes; unset where the bytes are made while they are read. */
  readonly size?: number;
  /** The file that holds exactly these bytes, if one does: the kernel may then copy it, and ranges cost nothing. */
  readonly path?: string;
  /** The repository that has these bytes as a blob, if one does: another one of that registry can take them over. */
  readonly origin?: { readonly registry: string; readonly repository: string };
  /** Opens that file, checked to be one; who asks closes it. */
  openFile?(): Promise<FileHandle>;
  /** Writes the bytes to an open file without bringing them into this thread, and tells what they were. */
  writeTo?(file: FileHandle, signal?: AbortSignal): Promise<BlobId>;
  /** To be told how many bytes were read where `open` was passed by. */
  readonly onRead?: (bytes: number) => void;
  open(range?: Range, signal?: AbortSignal): AsyncIterable<Uint8Array>;
}

/** Content that is in memory. */
export function contentOf(bytes: Uint8Array): Content {
  return {
    size: bytes.length,
    async *open({ start, end } = {}) {
      yield bytes.subarray(start, end);
    },
  };
}

/**
 * Passes bytes on while checking that they are the blob they should be. The size is checked before the digest, and a
 * blob that is too long is given up at the first byte too many.
 *
 * @param where - where the bytes come from, for the message
 * @throws CacheError CORRUPT, at the end or at the byte too many
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

/** The blob that some content is. */
export async function hashContent(content: Content, signal: AbortSignal | undefined): Promise<BlobId> {
  const hash = new BlobHash();
  for await (const chunk of content.open({}, signal)) hash.update(chunk);
  return hash.finish();
}

/**
 * Reads a document that is what its digest says, whatever size something says it has.
 *
 * @param limit - the most that may be held in memory, in bytes
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
 * Reads a small blob whole, verified.
 *
 * @param limit - the most that may be held in memory, in bytes
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
