import { readSync } from 'node:fs';
import type { FileHandle } from 'node:fs/promises';

/**
 * Bytes that are read at any position. Reads are synchronous: a delta needs millions of small ones, and files of the
 * machine answer at once.
 */
export interface RandomReader {
  /** In bytes. */
  readonly size: number;
  /** Fills a buffer from a position. @returns the number of bytes read; 0 at the end */
  read(into: Uint8Array, position: number): number;
}

/**
 * An open file. The caller closes it. The reader keeps the handle: Node closes a FileHandle that nothing refers to.
 *
 * @param size - of the file, in bytes
 */
export function fileReader(file: Pick<FileHandle, 'fd'>, size: number): RandomReader {
  return { size, read: (into, position) => readSync(file.fd, into, 0, into.length, position) };
}

/** Bytes in memory. */
export function bytesReader(bytes: Uint8Array): RandomReader {
  return {
    size: bytes.length,
    read: (into, position) => {
      const part = bytes.subarray(position, position + into.length);
      into.set(part);
      return part.length;
    },
  };
}

/**
 * Fills a whole buffer.
 *
 * @throws Error for a file that ends before its size, since it was cut short after it was opened
 */
export function readFully(reader: RandomReader, into: Uint8Array, position: number): void {
  for (let filled = 0; filled < into.length;) {
    const length = reader.read(filled === 0 ? into : into.subarray(filled), position + filled);
    if (length === 0) throw new Error(`a file of ${reader.size} bytes ends at ${position + filled}`);
    filled += length;
  }
}
