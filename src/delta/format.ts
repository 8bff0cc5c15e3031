import { CacheError, type Wrong } from '../errors.js';

// The format: file-format.md of containers/tar-diff, versions 1 and 2. A header of eight bytes is followed by one zstd frame
// of operations: a byte, a size as unsigned LEB128, and for some of them as many bytes of data.

/** The operations of a tar-diff, and what each adds to the new tar. */
export const Operation = {
  /** The data itself. */
  data: 0,
  /** Nothing; the data is the name of the source that the next operations read, from its start. */
  open: 1,
  /** So many bytes of the source. */
  copy: 2,
  /** So many bytes of the source, to each of which a byte of the data is added. */
  addData: 3,
  /** Nothing; the size is the next position in the source. */
  seek: 4,
  /** Version 2 only: the content of a zstd frame, the data, whose dictionary is the whole source. */
  zstdDictionary: 5,
} as const;

/** The header of version 1, which is what is written. */
export const HEADER_V1 = Buffer.from('tardf1\n\0', 'latin1');
export const HEADER_V2 = Buffer.from('tardf2\n\0', 'latin1');

/** The longest name of a source that readers take, in bytes. */
export const MAX_NAME = 4096;

/** The bytes of the longest size: ten, for 64 bits. */
export const MAX_SIZE_BYTES = 10;

/** The name of a layer's uncompressed tar as a source: `sha256/` and the hex digits of its diffID. */
export function sourceName(diffID: string): string {
  return diffID.replace(':', '/');
}

/**
 * The error for a delta that cannot be applied.
 *
 * @param where - the delta, for the message
 */
export function badDelta(where: string, what: string, wrong: Wrong = 'format', cause?: unknown): CacheError {
  return new CacheError('CORRUPT', `${where}: ${what}`, {
    hint: 'the delta was damaged or does not belong to this layer; make it again',
    wrong,
    cause,
  });
}
