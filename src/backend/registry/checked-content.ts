import type { Hash } from 'node:crypto';
import { wrongBytes, wrongSize } from '../../oci/blob-hash.js';
import type { Content } from '../../oci/content.js';
import type { BlobId } from '../../oci/descriptor.js';
import { type DigestAlgorithm, hashDigest, hasherFor } from '../../oci/digest.js';
import type { Body } from './upload-session.js';

/**
 * A blob that is read in parts, some of them again: each byte is hashed when it is read for the first time, and the
 * digest is checked with the last one.
 */
export class CheckedContent {
  readonly #content: Content;
  readonly #expected: BlobId;
  readonly #where: string;
  readonly #signal: AbortSignal | undefined;
  readonly #hash: Hash;
  readonly #algorithm: DigestAlgorithm;
  #hashed = 0;
  #failure: unknown;

  constructor(content: Content, expected: BlobId, where: string, signal: AbortSignal | undefined) {
    this.#content = content;
    this.#expected = expected;
    this.#where = where;
    this.#signal = signal;
    const { hash, algorithm } = hasherFor(expected.digest);
    this.#hash = hash;
    this.#algorithm = algorithm;
  }

  /** What went wrong with the reading, as opposed to the sending. */
  get failure(): unknown {
    return this.#failure;
  }

  /** The bytes from `start` up to, and not including, `end`. */
  body(start: number, end: number): Body {
    return { length: end - start, open: () => this.#read(start, end) };
  }

  async *#read(start: number, end: number): AsyncGenerator<Uint8Array, void, undefined> {
    const { size } = this.#expected;
    let at = start;
    try {
      // Up to the end, so that bytes too many are seen.
      const range = { start, ...(end < size ? { end } : {}) };
      for await (const chunk of this.#content.open(range, this.#signal)) {
        if (at + chunk.length > end) throw wrongSize(this.#expected, `more than ${size}`, this.#where);
        this.#update(chunk, at);
        at += chunk.length;
        if (at === size) this.#check();
        yield chunk;
      }
      if (at < end) throw wrongSize(this.#expected, `${at}`, this.#where);
      if (size === 0) this.#check();
    } catch (error) {
      this.#failure = error;
      throw error;
    }
  }

  #update(chunk: Uint8Array, at: number): void {
    const fresh = at + chunk.length - this.#hashed;
    if (fresh <= 0 || at > this.#hashed) return;
    this.#hash.update(chunk.subarray(chunk.length - fresh));
    this.#hashed += fresh;
  }

  #check(): void {
    if (this.#hashed !== this.#expected.size) return;
    const digest = hashDigest(this.#algorithm, this.#hash.copy());
    if (digest === this.#expected.digest) return;
    throw wrongBytes(this.#expected, digest, this.#where);
  }
}
