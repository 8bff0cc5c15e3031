import type { EntrySource } from '../tar/located-entries.js';
import type { RandomReader } from './random-reader.js';

/** Reads the headers of a tar, and nothing of its contents. */
export class HeaderReader implements EntrySource {
  readonly #tar: RandomReader;
  position = 0;

  constructor(tar: RandomReader) {
    this.#tar = tar;
  }

  exactly(length: number): Promise<Buffer> {
    const bytes = Buffer.allocUnsafe(Math.max(0, Math.min(length, this.#tar.size - this.position)));
    let filled = 0;
    while (filled < bytes.length) {
      const read = this.#tar.read(bytes.subarray(filled), this.position + filled);
      if (read === 0) break;
      filled += read;
    }
    this.position += filled;
    return Promise.resolve(bytes.subarray(0, filled));
  }

  skip(length: number): Promise<void> {
    this.position += length;
    return Promise.resolve();
  }
}
