import { createHash } from 'node:crypto';
import { ByteQueue } from '../bytes/byte-queue.js';
import type { Digest } from '../oci/digest.js';
import { type EntrySource, paddedSize, locatedEntries } from '../tar/located-entries.js';

/** The bytes of a sha256. */
export const DIGEST = 32;
/**
 * The bytes of a check of headers: the beginning of their sha256. It counts only where the headers themselves are not at hand;
 * that one in 4 billion of changed headers is taken for equal is found when the layer is rebuilt.
 */
export const HEADER_CHECK = 4;

/**
 * The regular files of a layer's tar, in the order of the tar. Arrays and no objects, since layers have up to a million of
 * files.
 */
export interface FileList {
  readonly diffID: Digest;
  /** The size of the tar, in bytes. */
  readonly size: number;
  /** Where the content of each file begins in the tar. */
  readonly offsets: Float64Array;
  /** The sizes of the contents, in bytes. */
  readonly sizes: Float64Array;
  /** The sha256 of each content, 32 bytes a file. */
  readonly digests: Buffer;
  /**
   * A check for each file of the bytes between the content of the file before it and its own: its headers, and entries that
   * are no regular files. HEADER_CHECK bytes a file.
   */
  readonly headerChecks: Buffer;
}

/** A list that grows; its bytes lie in two pieces, whatever the number of files. */
class Files {
  readonly #offsets: number[] = [];
  readonly #sizes: number[] = [];
  #digests = Buffer.alloc(64 * DIGEST);
  #checks = Buffer.alloc(64 * HEADER_CHECK);

  add(offset: number, size: number, digest: Buffer, check: Buffer): void {
    const count = this.#offsets.length;
    if ((count + 1) * DIGEST > this.#digests.length) {
      this.#digests = Buffer.concat([this.#digests, Buffer.alloc(this.#digests.length)]);
      this.#checks = Buffer.concat([this.#checks, Buffer.alloc(this.#checks.length)]);
    }
    digest.copy(this.#digests, count * DIGEST);
    check.copy(this.#checks, count * HEADER_CHECK, 0, HEADER_CHECK);
    this.#offsets.push(offset);
    this.#sizes.push(size);
  }

  list(diffID: Digest, size: number): FileList {
    const count = this.#offsets.length;
    return {
      diffID,
      size,
      offsets: Float64Array.from(this.#offsets),
      sizes: Float64Array.from(this.#sizes),
      digests: this.#digests.subarray(0, count * DIGEST),
      headerChecks: this.#checks.subarray(0, count * HEADER_CHECK),
    };
  }
}

/**
 * Lists the regular files of a tar in one pass. A tar that cannot be read to its end has the files before the place in
 * question, and bytes that are no tar have none.
 *
 * @param diffID - the digest of the tar, which is not checked
 * @throws what reading the tar throws
 */
export async function listFiles(tar: AsyncIterable<Uint8Array>, diffID: Digest): Promise<FileList> {
  await using source = new HashedTar(tar);
  const files = new Files();
  for await (const { header, content } of locatedEntries(source)) {
    if (header.type !== '0' && header.type !== '7') continue;
    const check = source.takeHash();
    await source.skip(header.size);
    // Cut short.
    if (source.position < content + header.size) break;
    files.add(content, header.size, source.takeHash(), check);
    await source.skip(paddedSize(header.size) - header.size);
    source.takeHash();
  }
  await source.skip(Number.POSITIVE_INFINITY);
  return files.list(diffID, source.position);
}

/** A stream of a tar that hashes what passes. */
class HashedTar implements EntrySource, AsyncDisposable {
  readonly #queue: ByteQueue;
  #hash = createHash('sha256');
  position = 0;

  constructor(tar: AsyncIterable<Uint8Array>) {
    this.#queue = new ByteQueue(tar);
  }

  async exactly(length: number): Promise<Buffer> {
    const bytes = await this.#queue.exactly(length);
    this.#pass(bytes);
    return bytes;
  }

  /** Hashes so many bytes, or as many as there are. */
  async skip(length: number): Promise<void> {
    for (let left = length; left > 0;) {
      const bytes = await this.#queue.some(left);
      if (bytes.length === 0) return;
      this.#pass(bytes);
      left -= bytes.length;
    }
  }

  /** The sha256 of what passed since the last call. */
  takeHash(): Buffer {
    const digest = this.#hash.digest();
    this.#hash = createHash('sha256');
    return digest;
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.#queue[Symbol.asyncDispose]();
  }

  #pass(bytes: Uint8Array): void {
    this.#hash.update(bytes);
    this.position += bytes.length;
  }
}
