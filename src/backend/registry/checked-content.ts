import { BlobCheck, wrongSize } from '../../oci/blob-hash.js';
import type { Content } from '../../oci/content.js';
import type { BlobId } from '../../oci/descriptor.js';
import type { Body } from './upload-session.js';

/**
 * A blob that is read in parts, some of them more than once. Each byte is hashed when it is first read, and the digest is
 * checked after the last byte.
 */
export class CheckedContent {
  readonly #content: Content;
  readonly #expected: BlobId;
  readonly #where: string;
  readonly #signal: AbortSignal | undefined;
  readonly #check: BlobCheck;
  #hashed = 0;
  #isChecked = false;
  #failure: unknown;

  constructor(content: Content, expected: BlobId, where: string, signal: AbortSignal | undefined) {
    this.#content = content;
    this.#expected = expected;
    this.#where = where;
    this.#signal = signal;
    this.#check = new BlobCheck(expected, where);
  }

  /** The error of reading the source; undefined for an error of sending. */
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
      // The last range is open, so that a source with too many bytes is noticed.
      const range = { start, ...(end < size ? { end } : {}) };
      for await (const chunk of this.#content.open(range, this.#signal)) {
        if (at + chunk.length > end) throw wrongSize(this.#expected, `more than ${size}`, this.#where);
        this.#update(chunk, at);
        at += chunk.length;
        if (at === size) this.#finish();
        yield chunk;
      }
      if (at < end) throw wrongSize(this.#expected, `${at}`, this.#where);
      if (size === 0) this.#finish();
    } catch (error) {
      this.#failure = error;
      throw error;
    }
  }

  #update(chunk: Uint8Array, at: number): void {
    const fresh = at + chunk.length - this.#hashed;
    if (fresh <= 0 || at > this.#hashed) return;
    this.#check.update(chunk.subarray(chunk.length - fresh));
    this.#hashed += fresh;
  }

  #finish(): void {
    if (this.#hashed !== this.#expected.size || this.#isChecked) return;
    this.#isChecked = true;
    this.#check.finish();
  }
}
