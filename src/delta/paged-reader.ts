import { type RandomReader, readFully } from './random-reader.js';

/** In bytes. A small read costs little more than one of a page. */
export const PAGE = 32 * 1024;

/**
 * Keeps the pages of files that were read last, for small reads near each other. Each page has one place in the memory, so
 * that pages in a row do not displace each other.
 */
export class Pages {
  readonly #pages: (Buffer | undefined)[];
  readonly #keys: Float64Array;
  #readers = 0;

  /** @param memory - in bytes */
  constructor(memory: number) {
    const count = 2 ** Math.floor(Math.log2(memory / PAGE));
    this.#pages = Array.from({ length: count });
    this.#keys = new Float64Array(count).fill(-1);
  }

  /** A reader whose pages are kept here. */
  reader(of: RandomReader): PagedReader {
    return new PagedReader(of, this, this.#readers++);
  }

  /** @param index - of the page in its file */
  page(reader: RandomReader, id: number, index: number): Buffer {
    const key = id * 2 ** 32 + index;
    const slot = (index + id * 7919) & (this.#pages.length - 1);
    const kept = this.#pages[slot];
    if (kept !== undefined && this.#keys[slot] === key) return kept;
    const page = kept ?? Buffer.allocUnsafeSlow(PAGE);
    this.#keys[slot] = -1;
    const start = index * PAGE;
    readFully(reader, page.subarray(0, Math.min(PAGE, reader.size - start)), start);
    this.#pages[slot] = page;
    this.#keys[slot] = key;
    return page;
  }
}

/** A reader for small reads. */
export class PagedReader implements RandomReader {
  readonly size: number;
  readonly #reader: RandomReader;
  readonly #pages: Pages;
  readonly #id: number;

  constructor(reader: RandomReader, pages: Pages, id: number) {
    this.size = reader.size;
    this.#reader = reader;
    this.#pages = pages;
    this.#id = id;
  }

  /** The page with a position. Its bytes count until the next page of any reader is asked for. */
  page(position: number): Buffer {
    return this.#pages.page(this.#reader, this.#id, Math.floor(position / PAGE));
  }

  /** Reads up to the size of the file; whole pages and more go by the pages that are kept. */
  read(into: Uint8Array, position: number): number {
    const length = Math.max(0, Math.min(into.length, this.size - position));
    if (length >= PAGE) {
      readFully(this.#reader, into.subarray(0, length), position);
      return length;
    }
    for (let filled = 0; filled < length;) {
      const page = this.page(position + filled);
      const offset = (position + filled) % PAGE;
      filled += page.copy(into, filled, offset, Math.min(PAGE, offset + length - filled));
    }
    return length;
  }
}
